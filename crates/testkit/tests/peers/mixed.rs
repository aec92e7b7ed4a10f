//! Our peers with the released ones.

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{ExporterSetup, Lab, jmp::Release};

use crate::device::use_device;

#[test]
fn a_released_client_uses_our_exporter() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut").release(Release::Rust));
    let alice = lab.client("alice");

    let done = use_device(&alice, "name=dut", &[]).ok();
    for line in ["power ok", "stream ok", "forward ok"] {
        done.clone().says(line);
    }
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "cycle", "--wait", "0"]).ok();
    lab.await_available(&mut dut);
}

#[test]
fn our_client_uses_a_released_exporter() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice").with(Release::Rust);

    // The seed of our client leases, dials and hands the session on; the drivers' commands are the released ones.
    let script = "j power on && j power read && test \"$JMP_EXPORTER\" = dut && exit 7";
    let with_j = |args: &[&str]| {
        let mut command = alice.command(args);
        command.env("PATH", format!("{}:/usr/bin:/bin", NEWEST.find().unwrap().bin().display()));
        alice.run_command(command)
    };
    with_j(&["shell", "-l", "name=dut", "--", "sh", "-c", script]).code(7).says("voltage=5.0");
    with_j(&["shell", "-n", "dut", "--duration", "1m", "--", "j", "power", "off"]).ok();
    lab.await_available(&mut dut);
}
