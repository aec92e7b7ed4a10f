//! The oldest release that can be installed, which reports no phase and knows no end of a session.

use jumpstarter_testkit::{ExporterSetup, Lab, exporter::Exporter, jmp::Release};

#[test]
fn the_oldest_release_does_the_basic_flow_with_itself_and_with_the_newest() {
    let lab = Lab::start();
    let old = start_old(&lab);
    let mut new = lab.exporter(ExporterSetup::new("new"));
    let young = lab.client("alice");
    let aged = young.with(Release::oldest());

    aged.run(&["get", "exporters"]).ok().says("old").says("new");
    for (client, exporter) in [(&aged, "old"), (&aged, "new"), (&young, "old")] {
        let selector = format!("name={exporter}");
        // Twice: the device must come free again, also from peers that never say so.
        for _ in 0..2 {
            client.run(&["shell", "-l", &selector, "--", "j", "power", "on"]).ok();
        }
    }
    let lease = aged.run(&["create", "lease", "-l", "name=old", "--duration", "PT10M", "-o", "name"]).ok();
    aged.run(&["shell", "--lease", lease.text(), "--", "j", "power", "on"]).ok();
    aged.run(&["delete", "leases", lease.text()]).ok();
    lab.await_available(&mut new);
    drop(old);
}

#[track_caller]
fn start_old(lab: &Lab) -> Exporter {
    let exporter = lab.exporter_without_phase(ExporterSetup::new("old").release(Release::oldest()).supervised());
    lab.await_online("old", true);
    exporter
}
