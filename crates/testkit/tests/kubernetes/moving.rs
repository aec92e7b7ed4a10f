//! A lab that outgrows its machine.

use jumpstarter_kube_testkit::{ApiServer, Options};
use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually};

#[test]
fn a_lab_moves_to_kubernetes_with_its_running_leases() {
    // Of its own: a lab on one machine serves the namespace `default`.
    let api: &'static ApiServer = Box::leak(Box::new(ApiServer::start_blocking(Options::default())));
    let mut lab = Lab::with_flags(&[]);
    let mut dut = lab.exporter(ExporterSetup::new("dut"));
    let (alice, bob) = (lab.client("alice"), lab.client("bob"));
    let create = ["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"];
    let over = alice.run(&create).ok().text().to_owned();
    alice.run(&["shell", "--lease", &over, "--", "j", "power", "on"]).ok();
    alice.run(&["delete", "leases", &over]).ok();
    lab.await_available(&mut dut);
    let running = alice.run(&create).ok().text().to_owned();
    alice.run(&["shell", "--lease", &running, "--", "j", "power", "on"]).ok();
    let waiting = bob.run(&create).ok().text().to_owned();
    let before = lab.observer().lease(&running).unwrap();

    lab.move_to_kubernetes(api);

    // The same exporter process, the same tokens, the same lease with the same end.
    let held = eventually("the lease on the cluster", MINUTE, || {
        lab.observer().lease(&running).ok().filter(|lease| lease.exporter.is_some())
    });
    assert_eq!(held.effective_end_time, None, "{held:?}");
    assert_eq!(held.effective_begin_time, before.effective_begin_time, "{held:?}");
    assert_eq!(held.exporter, before.exporter, "{held:?}");
    alice.run(&["shell", "--lease", &running, "--", "j", "power", "on"]).ok();
    assert_eq!(dut.process().count("Registering exporter with controller"), 1, "the exporter came along by itself");

    let ended = lab.observer().lease(&over).unwrap();
    assert!(ended.effective_end_time.is_some(), "what was over stays over: {ended:?}");
    let queued = lab.observer().lease(&waiting).unwrap();
    assert_eq!((queued.exporter, queued.effective_end_time), (None, None), "what waited waits");
    alice.run(&["delete", "leases", &running]).ok();
    bob.run(&["shell", "--lease", &waiting, "--", "j", "power", "on"]).ok();
    bob.run(&["delete", "leases", &waiting]).ok();
    lab.await_available(&mut dut);
    let fresh = lab.client("carol");
    fresh.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();
}
