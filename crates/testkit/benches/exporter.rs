//! An idle exporter's memory, and its time from start to available: ours beside the released one, with the same YAML on
//! the same service.

use std::{
    thread,
    time::{Duration, Instant},
};

use jumpstarter_protocol::v1::ExporterStatus;
use jumpstarter_testkit::{
    ExporterSetup, Lab, MINUTE,
    figures::{Samples, proportional, say},
    jmp::Release,
};

const ROUNDS: usize = 7;

/// Drivers of several kinds, none of which needs hardware.
const DRIVERS: &str = "
power: { type: jumpstarter_driver_power.driver.MockPower }
echo: { type: jumpstarter_driver_network.driver.EchoNetwork }
console: { type: jumpstarter_driver_pyserial.driver.PySerial, config: { url: 'loop://' } }
tool: { type: jumpstarter_driver_shell.driver.Shell, config: { methods: { ls: ls } } }
";

fn main() {
    let lab = Lab::start();
    let mut start = [Samples::default(), Samples::default()];
    let mut memory = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (index, release) in [Release::newest(), Release::Rust].into_iter().enumerate() {
            let name = format!("dut-{round}-{index}");
            let setup = ExporterSetup::new(&name).drivers(DRIVERS).release(release);
            let config = lab.exporter_config(&name, &setup.labels);
            let begun = Instant::now();
            let mut exporter = lab.exporter_from(setup, &config);
            let available = || {
                let seen = lab.observer().exporter(&name).expect("look at an exporter");
                seen.status() == ExporterStatus::Available
            };
            while !available() {
                assert!(begun.elapsed() < MINUTE, "the exporter is not available:\n{}", exporter.process().output());
                thread::sleep(Duration::from_millis(1));
            }
            let took = begun.elapsed();
            // What start-up leaves behind is given back within moments.
            thread::sleep(Duration::from_secs(1));
            let bytes = proportional(&exporter.process().tree());
            exporter.kill();
            // The first of each fills caches.
            if round > 0 {
                start[index].extend([took]);
                memory[index].push(bytes);
            }
        }
    }
    let median = |bytes: &mut Vec<u64>| {
        bytes.sort_unstable();
        bytes[bytes.len() / 2]
    };
    let [python, rust] = &mut memory;
    let (python, rust) = (median(python), median(rust));
    let mib = |bytes: u64| format!("{:.1} MiB", as_float(bytes) / 1_048_576.0);
    say("exporter, idle memory, Python", mib(python));
    say("exporter, idle memory, Rust", mib(rust));
    say("exporter, idle memory, Python over Rust (aim ≥ 8)", format_args!("{:.1}", as_float(python) / as_float(rust)));
    let [python, rust] = &start;
    say("exporter, start to available, Python", python);
    say("exporter, start to available, Rust", rust);
    let ratio = python.percentile(50).as_secs_f64() / rust.percentile(50).as_secs_f64();
    say("exporter, start, Python over Rust (aim ≥ 20)", format_args!("{ratio:.1}"));
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}
