//! Processes that die and come back while a lease is held.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use jumpstarter_protocol::client::v1::Lease;
use jumpstarter_testkit::{Exporter, ExporterSetup, Jmp, Lab, MINUTE, eventually, free_address};

fn held(lab: &Lab, lease: &str) -> Lease {
    let found = lab.observer().lease(lease).unwrap();
    assert_eq!(found.effective_end_time, None, "the lease is intact: {found:?}");
    found
}

fn lease(client: &Jmp) -> String {
    client.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok().text().to_owned()
}

#[test]
fn a_lease_survives_the_death_of_its_exporter() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let lease = lease(&alice);
    alice.run(&["shell", "--lease", &lease, "--", "j", "power", "on"]).ok();

    let killed = Instant::now();
    dut.kill();
    lab.await_online("dut", false);
    assert!(killed.elapsed() < Duration::from_secs(30), "noticed after {:?}", killed.elapsed());
    assert!(held(&lab, &lease).exporter.is_some());

    dut.up();
    lab.await_online("dut", true);
    alice.run(&["shell", "--lease", &lease, "--", "j", "power", "on"]).ok();
    alice.run(&["delete", "leases", &lease]).ok();
    lab.await_available(&mut dut);
}

#[test]
fn an_exporter_that_leaves_in_order_is_gone_at_once() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut"));
    dut.process().signal(rustix::process::Signal::TERM);
    dut.process().wait(MINUTE);
    let left = Instant::now();
    lab.await_online("dut", false);
    assert!(left.elapsed() < Duration::from_secs(5), "noticed after {:?}", left.elapsed());
}

/// The story of one restart; `restart` says how the service goes and comes.
#[track_caller]
fn survive(lab: &mut Lab, restart: impl FnOnce(&mut Lab)) {
    let mut dut: Exporter = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let lease = lease(&alice);
    alice.run(&["shell", "--lease", &lease, "--", "j", "power", "on"]).ok();

    restart(lab);
    assert!(held(lab, &lease).exporter.is_some());
    alice.run(&["shell", "--lease", &lease, "--", "j", "power", "on"]).ok();
    assert_eq!(dut.process().count("Registering exporter with controller"), 1, "the exporter came back by itself");
    alice.run(&["delete", "leases", &lease]).ok();
    lab.await_available(&mut dut);
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();
}

#[test]
fn leases_and_exporters_survive_a_restart_of_the_service() {
    let mut lab = Lab::start();
    survive(&mut lab, |lab| {
        lab.service.stop();
        lab.service.up();
    });
}

#[test]
fn leases_and_exporters_survive_the_death_of_the_service() {
    let mut lab = Lab::start();
    survive(&mut lab, |lab| {
        lab.service.kill();
        lab.service.up();
    });
}

#[test]
fn a_socket_that_outlives_the_service_refuses_nobody() {
    let mut lab = Lab::activated();
    let address = lab.service.address().to_owned();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut knocks = 0;
            while !done.load(Ordering::Relaxed) {
                TcpStream::connect(&address).expect("connections are never refused");
                knocks += 1;
                thread::sleep(Duration::from_millis(2));
            }
            knocks
        });
        for _ in 0..3 {
            lab.service.stop();
            lab.service.up();
        }
        done.store(true, Ordering::Relaxed);
        assert!(knocking.join().unwrap() > 10, "too few to have met a restart");
    });
    survive(&mut lab, |lab| {
        lab.service.stop();
        lab.service.up();
    });
}

#[test]
fn a_shell_ends_in_good_order_when_its_service_restarts() {
    let mut lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let lease = lease(&alice);
    // The tunnel ends with the router; a new `j` makes a new one.
    let script = "j power on && echo up && while ! test -e again; do sleep 0.1; done; j power off && echo down";
    let mut shell = alice.start(&["shell", "--lease", &lease, "--", "sh", "-c", script]);
    shell.wait_line("up");
    lab.service.stop();
    lab.service.up();
    eventually("the exporter back", MINUTE, || {
        let found = lab.observer().exporter("dut").ok()?;
        #[expect(deprecated, reason = "the shortest way to ask")]
        found.online.then_some(())
    });
    std::fs::write(lab.sandbox.path().join("homes/alice/again"), "").unwrap();
    shell.wait_line("down");
    let status = shell.wait(MINUTE);
    assert!(status.success(), "{status}\n{}", shell.output());
}

#[test]
fn tunnels_of_another_router_survive_a_restart_of_the_service() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/hold_stream.py");
    let router = free_address();
    let mut lab = Lab::with_flags(&["--router", &router, "--no-builtin-router"]);
    let _router = lab.router(&router);
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let lease = lease(&alice);
    let again = lab.sandbox.path().join("again");

    let again = again.to_str().unwrap();
    let mut shell = alice.start(&["shell", "--lease", &lease, "--", "python", SCRIPT, again]);
    shell.wait_line("holding");
    lab.service.stop();
    lab.service.up();
    std::fs::write(again, "").unwrap();
    shell.wait_line("the same stream");
    let status = shell.wait(MINUTE);
    assert!(status.success(), "{status}\n{}", shell.output());
    held(&lab, &lease);
}
