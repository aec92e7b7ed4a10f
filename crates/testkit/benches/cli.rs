//! Wall time of `jmp get leases` and `jmp shell … -- true`: ours beside the released ones, on the same service, with the
//! same configuration and the same exporter, in turns.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jumpstarter_testkit::{
    ExporterSetup, Jmp, Lab,
    figures::{Samples, say},
    jmp::Release,
};

/// Of the quick command, and of the slow one.
const LOOKS: usize = 21;
const SHELLS: usize = 9;

fn main() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut").release(Release::Rust));
    let python = lab.client("alice");
    let rust = python.with(Release::Rust);
    compare("get leases", "aim ≥ 20", LOOKS, [&python, &rust], &["get", "leases"], || {});
    let shell = ["shell", "-l", "name=dut", "--", "true"];
    compare("shell … -- true", "aim ≥ 5", SHELLS, [&python, &rust], &shell, || lab.await_available(&mut dut));
}

fn compare(name: &str, aim: &str, rounds: usize, clients: [&Jmp; 2], args: &[&str], mut settle: impl FnMut()) {
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..=rounds {
        for (client, samples) in clients.iter().zip(&mut samples) {
            let took = timed(client.command(args));
            settle();
            // The first of each fills caches.
            if round > 0 {
                samples.extend([took]);
            }
        }
    }
    let [python, rust] = samples;
    say(&format!("{name}, Python"), &python);
    say(&format!("{name}, Rust"), &rust);
    let ratio = python.percentile(50).as_secs_f64() / rust.percentile(50).as_secs_f64();
    say(&format!("{name}, Python over Rust ({aim})"), format_args!("{ratio:.1}"));
}

fn timed(mut command: Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("start a client");
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}
