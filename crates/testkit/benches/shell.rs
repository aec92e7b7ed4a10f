//! Wall time of an unmodified `jmp shell … -- true` through the service, over the same without a service.

use std::path::Path;

use jumpstarter_testkit::{
    ExporterSetup, Lab,
    exporter::MOCK,
    figures::{Samples, say},
};

const ROUNDS: usize = 9;

fn main() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let local = lab.sandbox.path().join("local.yaml");
    let drivers = MOCK.replace('\n', "\n  ");
    let text = format!(
        "apiVersion: jumpstarter.dev/v1alpha1\nkind: ExporterConfig\nmetadata: {{ namespace: default, name: local }}\nexport:\n  {drivers}\n"
    );
    std::fs::write(&local, text).expect("write a configuration");
    let shown = |path: &Path| path.to_str().expect("paths of a sandbox are plain").to_owned();
    let local = shown(&local);

    let alone = || alice.run(&["shell", "--exporter-config", &local, "--", "true"]).ok().took;
    let through = || alice.run(&["shell", "-l", "name=dut", "--", "true"]).ok().took;
    // Once for the caches of both; then in turns, so that a change of the machine's mood meets both.
    let _ = (alone(), through());
    let (mut without, mut with) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        without.extend([alone()]);
        with.extend([through()]);
    }
    say("shell, local mode", &without);
    say("shell, through the service", &with);
    let ratio = with.percentile(50).as_secs_f64() / without.percentile(50).as_secs_f64();
    say("shell, ratio of the medians (aim ≤ 1.3)", format_args!("{ratio:.2}"));
}
