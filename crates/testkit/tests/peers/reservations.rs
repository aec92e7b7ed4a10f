//! Reservations and maintenance, as released clients meet them.

use std::time::Duration;

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually, jmp::Release};

/// A time so many minutes from now, as people write it.
fn in_minutes(minutes: u64) -> String {
    let at = jiff::Timestamp::now() + Duration::from_secs(60 * minutes);
    jiff::Timestamp::from_second(at.as_second()).unwrap().to_string()
}

/// Why a lease waits, and what it is told.
fn waits(lab: &Lab, lease: &str) -> Option<(String, String)> {
    let lease = lab.observer().lease(lease).ok()?;
    let pending = lease.conditions.iter().find(|found| found.r#type() == "Pending" && found.status() == "True")?;
    Some((pending.reason().to_owned(), pending.message().to_owned()))
}

/// The arguments that ask for the device at these times.
fn lease<'a>(times: &[&'a str]) -> Vec<&'a str> {
    [&["create", "lease", "-l", "name=dut", "-o", "name"][..], times].concat()
}

fn await_reason(lab: &Lab, lease: &str, reason: &str) -> String {
    eventually(reason, MINUTE, || waits(lab, lease).filter(|(told, _)| told == reason).map(|(_, message)| message))
}

fn a_time_that_is_promised_holds_others_back(release: Release) {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut").release(release));
    let (alice, bob) = (lab.client("alice"), lab.client("bob"));
    let session = |minutes: &str| {
        let args = ["shell", "-l", "name=dut", "--duration", minutes, "--", "j", "power", "on"];
        let _ = bob.run(&args).ok();
    };
    let begin = in_minutes(60);
    let ahead = alice.run(&lease(&["--begin-time", &begin, "--duration", "30m"])).ok().text().to_owned();
    let told = await_reason(&lab, &ahead, "Scheduled");
    assert!(told.ends_with("the exporter dut is reserved for it"), "{told}");

    // Somebody else asks for the same time, and is told who has it and what would do.
    let refused = bob.run(&lease(&["--begin-time", &begin, "--duration", "10m"])).code(1);
    let said = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [&format!("exporter dut is reserved for lease {ahead}"), "Next begins that would do"] {
        assert!(said.contains(part), "{}", refused.report());
    }

    // What ends in time fills the gap; what does not waits, and has the device when the reservation is given up.
    session("10m");
    let long = bob.run(&lease(&["--duration", "2h"])).ok().text().to_owned();
    let told = await_reason(&lab, &long, "Reserved");
    assert!(told.contains(&format!("reserved for lease {ahead}")), "{told}");
    let _ = alice.run(&["delete", "leases", &ahead]).ok();
    eventually("the device", MINUTE, || lab.observer().lease(&long).ok()?.exporter);
    let _ = bob.run(&["delete", "leases", &long]).ok();

    // Maintenance is announced: the same again.
    let start = in_minutes(30);
    let window = ["create", "window", "tonight", "--exporters", "name=dut", "--reason", "new cable"];
    let _ = lab.admin(&[&window[..], &["--start", &start, "--duration", "1h"]].concat()).ok();
    let _ = lab.admin(&["get", "windows"]).ok().says("tonight").says(&start);
    let refused = bob.run(&lease(&["--begin-time", &start, "--duration", "10m"])).code(1);
    let said = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("exporter dut has maintenance tonight (new cable)"), "{}", refused.report());
    session("10m");
    let long = bob.run(&lease(&["--duration", "2h"])).ok().text().to_owned();
    let told = await_reason(&lab, &long, "Reserved");
    assert!(told.contains("maintenance tonight (new cable)"), "{told}");
    let _ = lab.admin(&["delete", "window", "tonight"]).ok();
    eventually("the device", MINUTE, || lab.observer().lease(&long).ok()?.exporter);
}

#[test]
fn a_time_that_is_promised_on_a_released_exporter_holds_others_back() {
    a_time_that_is_promised_holds_others_back(Release::newest());
}

#[test]
fn a_time_that_is_promised_on_our_exporter_holds_others_back() {
    a_time_that_is_promised_holds_others_back(Release::Rust);
}
