//! Our peers with the released ones.

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

    alice.run(&["get", "exporters", "-o", "name"]).ok().says("dut");
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();
    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "10m", "-o", "name"]).ok();
    alice.run(&["shell", "--lease", lease.text(), "--", "j", "power", "read"]).ok().says("5");
    alice.run(&["delete", "leases", lease.text()]).ok();
    lab.await_available(&mut dut);
}
