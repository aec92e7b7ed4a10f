//! Several routers as processes of their own: one dies or leaves in the middle of a session, the work goes on.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, Process, eventually, free_address};
use rustix::process::Signal;

const REDIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/redial.py");
const HOLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/hold_stream.py");

/// Streams that a router carries now, by its log.
fn carried(router: &Process) -> usize {
    router.count("stream opened") - router.count("stream ended")
}

/// A lab whose streams go through two routers at these addresses, which are not running yet.
fn lab() -> (Lab, [String; 2]) {
    let addresses = [free_address(), free_address()];
    let [one, other] = &addresses;
    let lab = Lab::with_flags(&["--router", one, "--router", other, "--no-builtin-router"]);
    (lab, addresses)
}

#[test]
fn a_session_outlives_the_death_of_its_router() {
    let (lab, addresses) = lab();
    let mut routers = addresses.each_ref().map(|address| Some(lab.router(address)));
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let mut shell = alice.start(&["shell", "-l", "name=dut", "--", "python", REDIAL]);
    shell.wait_line("holding");

    // Whichever has most of the session: the stream that is held is on it, or the next one will not be.
    let busy = routers.iter().flatten().map(carried).enumerate().max_by_key(|(_, count)| *count).unwrap().0;
    routers[busy].take().unwrap().kill_tree();
    // Streams on the survivor alone do not break; then it is the other's turn.
    let broken = shell_line(&mut shell, "broken", Duration::from_secs(5));
    if !broken {
        let address = &addresses[busy];
        routers[busy] = Some(lab.router(address));
        routers[1 - busy].take().unwrap().kill_tree();
    }
    println!("{}", shell.wait_line("broken"));
    println!("{}", shell.wait_line("again"));
    shell.wait_line("power on");
    let status = shell.wait(MINUTE);
    assert!(status.success(), "{status}\n{}", shell.output());
    // Both ends learn at once that a router is gone, since its sockets are closed with it; a gone machine is noticed by
    // pings, which the router's own tests show.
    let said = shell.output();
    let seconds = said.split("broken ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(seconds.parse::<f64>().unwrap() < 15.0, "{said}");
    // A new session as well.
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "off"]).ok();
}

/// Whether the shell says `text` within `limit`.
fn shell_line(shell: &mut Process, text: &str, limit: Duration) -> bool {
    let until = std::time::Instant::now() + limit;
    while std::time::Instant::now() < until {
        if shell.count(text) > 0 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Status code of a GET.
fn status(address: &str, path: &str) -> Option<u16> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(MINUTE)).ok()?;
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_router_that_is_told_to_stop_lets_its_streams_finish_and_takes_no_more() {
    let (lab, [leaving, staying]) = lab();
    let metrics = free_address();
    let mut first = lab.router_with(&leaving, &["--metrics-listen", &metrics]);
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let again = lab.sandbox.path().join("again");
    let lease =
        alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok().text().to_owned();
    let mut shell = alice.start(&["shell", "--lease", &lease, "--", "python", HOLD, again.to_str().unwrap()]);
    shell.wait_line("holding");
    assert!(carried(&first) > 0, "the stream is on the only router");
    assert_eq!(status(&metrics, "/readyz"), Some(200));

    let second = lab.router(&staying);
    first.signal(Signal::TERM);
    eventually("not ready", MINUTE, || (status(&metrics, "/readyz") == Some(503)).then_some(()));
    assert_eq!(status(&metrics, "/healthz"), Some(200), "it is alive all the same");
    eventually("no new connections", MINUTE, || TcpStream::connect(&leaving).is_err().then_some(()));
    // What comes next is on the other router, also for the session that began here.
    let before = first.count("stream opened");
    alice.run(&["shell", "--lease", &lease, "--", "j", "power", "on"]).ok();
    assert!(second.count("stream opened") > 0);
    assert_eq!(first.count("stream opened"), before, "nothing new on a router that leaves");
    assert_eq!(first.try_wait(), None, "it waits for its streams");

    std::fs::write(&again, "").unwrap();
    shell.wait_line("the same stream");
    let ended = shell.wait(MINUTE);
    assert!(ended.success(), "{ended}\n{}", shell.output());
    let ended = first.wait(MINUTE);
    assert!(ended.success(), "{ended}\n{}", first.output());
    alice.run(&["delete", "leases", &lease]).ok();
}
