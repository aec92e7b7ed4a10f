//! The list of routers changes while the service runs, and so does the key of the tickets, without a restart of routers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use jumpstarter_testkit::{ExporterSetup, Jmp, Lab, MINUTE, Process, eventually, free_address};
use rustix::process::Signal;

/// What a port for machines answers to a GET of `/metrics`.
fn metrics(address: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("the port of the metrics");
    socket.set_read_timeout(Some(MINUTE)).expect("a limit");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Waits until the metrics at `address` have this line.
#[track_caller]
fn await_metric(address: &str, line: &str) {
    let mut last = String::new();
    eventually(&format!("the metric {line}"), MINUTE, || {
        last = metrics(address);
        last.lines().any(|found| found == line).then_some(())
    });
}

/// Switches power by the Python client, and says through which of `routers` that went.
fn through<'a>(alice: &Jmp, routers: &'a [(&'a str, &'a Process)]) -> Vec<&'a str> {
    let before: Vec<usize> = routers.iter().map(|(_, router)| router.count("stream opened")).collect();
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();
    let used = routers.iter().zip(before).filter(|((_, router), before)| router.count("stream opened") > *before);
    used.map(|((name, _), _)| *name).collect()
}

#[test]
fn routers_and_their_key_change_under_a_running_lab() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = dir.path().join("settings.yaml");
    let [first, second] = [free_address(), free_address()];
    let list = |routers: &[&String]| {
        let entries: Vec<String> = routers.iter().map(|router| format!("- '{router}'\n")).collect();
        fs::write(&settings, format!("noBuiltinRouter: true\nrouters:\n{}", entries.concat())).expect("settings");
    };
    list(&[&first]);
    let mut lab = Lab::with_flags(&["--config", settings.to_str().expect("a plain path")]);
    let ready = lab.service.process().wait_line("jumpstarter is ready");
    let told = ready.split("metrics=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port").to_owned();

    // A key that is to come is accepted already.
    let keys = lab.service.data().join("keys");
    let coming = dir.path().join("coming.key");
    fs::write(&coming, "the key that is to come, long enough").expect("a key");
    let accept = ["--previous-router-key", coming.to_str().expect("a plain path")];
    let one = lab.router_with(&first, &accept);
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    await_metric(&told, "jumpstarter_routers{state=\"serving\"} 1");
    assert_eq!(through(&alice, &[("one", &one)]), ["one"]);

    // A router is added, then the first one is taken out.
    let port = free_address();
    let other = lab.router_with(&second, &[accept[0], accept[1], "--metrics-listen", &port]);
    list(&[&first, &second]);
    await_metric(&told, "jumpstarter_routers{state=\"serving\"} 2");
    list(&[&second]);
    lab.service.process().signal(Signal::HUP);
    lab.service.process().wait_line("a router was removed");
    assert_eq!(through(&alice, &[("one", &one), ("other", &other)]), ["other"]);
    let seen = metrics(&told);
    assert!(!seen.contains(&first), "{seen}");
    let dials = seen.lines().find(|line| line.starts_with("jumpstarter_router_dials_total")).expect("dials");
    assert!(dials.contains(&second) && !dials.ends_with(" 0"), "{dials}");

    // The router tells what it has done.
    eventually("the streams ended", MINUTE, || {
        let seen = metrics(&port);
        let count = |name: &str| seen.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        let joined = count("jumpstarter_router_streams_joined_total").expect("a counter");
        assert!(!joined.ends_with(" 0"), "{joined}");
        for name in [
            "jumpstarter_router_streams_ended_total{outcome=\"cut\"}",
            "jumpstarter_router_forwarded_bytes_total{sender=\"client\"}",
            "jumpstarter_router_refusals_total{reason=\"invalid_ticket\"}",
            "jumpstarter_router_stream_setup_seconds_count",
            "jumpstarter_tls_handshake_seconds_count",
            "jumpstarter_connections",
        ] {
            assert!(count(name).is_some(), "{name} is missing in:\n{seen}");
        }
        (count("jumpstarter_router_streams ").expect("a gauge").ends_with(" 0")).then_some(())
    });

    // From now on the coming key signs; the routers stay as they are.
    lab.service.stop();
    fs::rename(keys.join("router.key"), keys.join("router-previous.key")).expect("keep the key");
    fs::copy(&coming, keys.join("router.key")).expect("change the key");
    lab.service.up();
    assert_eq!(through(&alice, &[("one", &one), ("other", &other)]), ["other"]);
}
