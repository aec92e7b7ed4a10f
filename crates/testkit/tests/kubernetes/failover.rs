//! Replicas of the controller that die.

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually};

use crate::cycle::leases_cycle;

/// The number of the replica that leads.
#[track_caller]
fn leader(lab: &Lab) -> usize {
    eventually("a leader", MINUTE, || lab.service.leader())
}

/// One lease, its tunnel and its peers, all of them unmodified, while one leader follows another.
#[track_caller]
fn outlive(replace: impl Fn(&mut Lab, usize)) {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/hold_stream.py");
    let mut lab = Lab::replicated(2);
    let mut dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok();
    let lease = lease.text().to_owned();
    let again = lab.sandbox.path().join("again");
    let mut shell = alice.start(&["shell", "--lease", &lease, "--", "python", SCRIPT, again.to_str().unwrap()]);
    shell.wait_line("holding");

    let first = leader(&lab);
    replace(&mut lab, first);
    let second = eventually("another leader", MINUTE, || lab.service.leader().filter(|number| *number != first));
    // The stream that was open is open still: its router does not know of controllers.
    std::fs::write(&again, "").unwrap();
    shell.wait_line("the same stream");
    assert!(shell.wait(MINUTE).success(), "{}", shell.output());
    // And new ones come about, through the replica that leads and through the one that does not.
    lab.service.up();
    for _ in 0..2 {
        alice.run(&["shell", "--lease", &lease, "--", "j", "power", "on"]).ok();
    }
    assert_eq!(leader(&lab), second, "the replica that came back does not disturb the one that leads");
    let found = lab.observer().lease(&lease).unwrap();
    assert_eq!(found.effective_end_time, None, "the lease is intact: {found:?}");
    assert_eq!(dut.process().count("Registering exporter with controller"), 1, "the exporter came back by itself");
    alice.run(&["delete", "leases", &lease]).ok();
    lab.await_available(&mut dut);
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();
}

#[test]
fn a_lease_and_its_tunnel_outlive_a_killed_leader() {
    outlive(|lab, leader| lab.service.kill_replica(leader));
}

#[test]
fn a_lease_and_its_tunnel_outlive_a_leader_that_leaves_in_order() {
    outlive(|lab, leader| lab.service.stop_replica(leader));
}

#[test]
fn fifty_leases_cycle_while_leaders_are_killed() {
    const LEASES: usize = 50;
    const KILLS: usize = 4;
    let mut lab = Lab::replicated(2);
    leases_cycle(&mut lab, 5, LEASES, |lab, progress| {
        for kill in 1..=KILLS {
            // Spread over the work, so that each finds leases in every state.
            eventually("progress", MINUTE * 4, || (progress.done() >= kill * LEASES / (KILLS + 2)).then_some(()));
            let leader = leader(lab);
            lab.service.kill_replica(leader);
            lab.service.up();
        }
    });
}
