//! Signals: the first lets the program finish, the second asks it to end, the third ends it. The lease is given back in
//! any case.
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    signal::unix::{self, SignalKind},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{commands::run::caught, failure::Failure, output};

/// The signals that somebody who wants the shell to end may send.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: caught(SignalKind::hangup())?,
        })
    }

    /// Hands signals on, for ever: `stop` fires with the first.
    ///
    /// # Cancel safety
    /// Cancel safe: signals have queues of one.
    pub(super) async fn handle(&mut self, stop: &CancellationToken, child: &watch::Receiver<Option<u32>>) {
        let mut times = 0;
        loop {
            let (text, gone) = tokio::select! {
                _ = self.interrupt.recv() => ("SIGINT pressed, terminating", false),
                _ = self.terminate.recv() => ("SIGTERM received, terminating", false),
                _ = self.hangup.recv() => ("SIGHUP received, terminating", true),
            };
            times += 1;
            if times == 1 {
                output::complain(text);
                stop.cancel();
            }
            // The terminal has sent its own signal to the program too; without one, asking twice means it. Shells at
            // a prompt ignore SIGTERM, and leave at SIGHUP.
            let signals: &[Signal] = match (times, gone) {
                (3.., _) => &[Signal::KILL],
                (_, true) => &[Signal::HUP],
                (2, false) => &[Signal::TERM, Signal::HUP],
                (_, false) => &[],
            };
            for signal in signals {
                tell(*child.borrow(), *signal);
            }
        }
    }
}

/// Sends a signal to the program, which may have ended by itself meanwhile.
pub(super) fn tell(child: Option<u32>, signal: Signal) {
    if let Some(pid) = child.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        let _ = kill_process(pid, signal);
    }
}
