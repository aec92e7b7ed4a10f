//! A thread that starts processes and lives as long as the test program.
//!
//! Servers that a whole test program shares are never dropped. They ask the kernel to be killed with their parent
//! (`setpriv --pdeathsig`), and to the kernel the parent is the thread that started them: one of a finished test would
//! take them along.

use std::{
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// Starts `program` such that it dies with us.
pub(crate) fn spawn(program: &std::path::Path, configure: impl FnOnce(&mut Command) + Send + 'static) -> Child {
    static GUARDIAN: OnceLock<Sender<Job>> = OnceLock::new();
    let guardian = GUARDIAN.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        sender
    });
    let (reply, child) = channel();
    let program = program.to_owned();
    let job: Job = Box::new(move || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
        configure(&mut command);
        let spawned = command.spawn().map_err(|error| format!("start {}: {error}", program.display()));
        let _ = reply.send(spawned);
    });
    guardian.send(job).expect("the guardian lives");
    child.recv().expect("the guardian answers").unwrap_or_else(|error| panic!("{error}"))
}
