//! Sessions of our exporter: several in one lease, several exporters in one process.

use std::{fs, os::unix::net::UnixDatagram, path::Path, time::Duration};

use jumpstarter_client::{Client, CreateLease, ExporterStatus, Session};
use jumpstarter_config::{ClientConfig, Env};
use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, Process, eventually, jmp::Release};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

fn lines(journal: &Path) -> Vec<String> {
    fs::read_to_string(journal).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A session whose drivers may be used. One that is just being closed is tried again.
async fn ready(client: &Client, lease: &str) -> Session {
    let look = async {
        loop {
            let Ok(session) = client.session(lease).await else { continue };
            while let Ok(state) = session.status().await {
                if state.status == ExporterStatus::LeaseReady {
                    return session;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    timeout(MINUTE, look).await.unwrap()
}

#[test]
fn a_lease_may_have_several_sessions_and_nobody_else_gets_in() {
    let lab = Lab::start();
    let journal = lab.sandbox.path().join("journal");
    // An afterLease hook would give the lease back with its first session.
    let hooks = format!("beforeLease: {{ script: \"echo before >> {}\" }}\n", journal.display());
    let mut dut = lab.exporter(ExporterSetup::new("dut").hooks(&hooks).release(Release::Rust));
    let config = ClientConfig::from_file(&lab.client_config("alice"), &Env::empty()).unwrap();
    let bob = lab.client("bob").with(Release::Rust);
    jumpstarter_transport::install_crypto_provider();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, lease, mut uuids) = runtime.block_on(async {
        let client = Client::from_config(&config).await.unwrap();
        let wanted = CreateLease {
            exporter_name: Some("dut".to_owned()),
            duration: Duration::from_mins(30),
            ..CreateLease::default()
        };
        let lease = client.create_lease(&wanted).await.unwrap().name;
        client.wait_ready(&lease, |_| {}).await.unwrap();
        let mut uuids = Vec::new();
        for _ in 0..2 {
            let session = ready(&client, &lease).await;
            // Whoever comes in meanwhile, with the same lease, shares the session.
            let beside = ready(&client, &lease).await;
            let uuid = |session: &jumpstarter_client::Report| session.driver("power").unwrap().uuid.clone();
            uuids.push(uuid(session.report().await.unwrap()));
            assert_eq!(uuids.last(), Some(&uuid(beside.report().await.unwrap())));
            session.call("power", "on", &[]).await.unwrap();
            assert!(session.end_session().await.unwrap());
        }
        (client, lease, uuids)
    });
    uuids.dedup();
    assert_eq!(uuids.len(), 2, "each session has drivers of its own");
    assert_eq!(lines(&journal), ["before", "before"]);

    // Another client is told whose it is, by name.
    bob.run(&["shell", "--lease", &lease, "--", "true"]).code(1).says("belongs to client 'alice'");
    runtime.block_on(client.delete_lease(&lease)).unwrap();
    lab.await_available(&mut dut);
}

#[test]
fn one_process_serves_several_exporters_and_says_when_it_is_ready() {
    let lab = Lab::start();
    let alice = lab.client("alice").with(Release::Rust);
    let fleet = lab.sandbox.dir("fleet");
    for name in ["one", "two"] {
        let config = lab.exporter_config(name, &[("fleet".to_owned(), name.to_owned())]);
        let power = "export:\n  power: { type: jumpstarter_driver_power.driver.MockPower }";
        let text = fs::read_to_string(config).unwrap().replace("export: {}", power);
        fs::write(fleet.join(format!("{name}.yaml")), text).unwrap();
    }
    let address = lab.sandbox.path().join("notify");
    let manager = UnixDatagram::bind(&address).unwrap();
    manager.set_read_timeout(Some(MINUTE)).unwrap();
    let heard = || {
        let mut message = [0; 256];
        let count = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let mut command = alice.command(&["run", "--exporter-config", fleet.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &address);
    let mut process = Process::start(&lab.sandbox, "fleet", command);
    let mut told = heard();
    while !told.contains("READY=1") {
        told = heard();
    }
    for name in ["one", "two"] {
        lab.await_online(name, true);
        alice.run(&["shell", "-l", &format!("fleet={name}"), "--", "j", "power", "on"]).ok();
    }
    process.signal(Signal::TERM);
    assert!(heard().contains("STOPPING=1"));
    assert!(process.wait(MINUTE).success(), "{}", process.output());
    for name in ["one", "two"] {
        lab.await_online(name, false);
    }
    eventually("no lease", MINUTE, || alice.run(&["get", "leases", "-o", "name"]).ok().text().is_empty().then_some(()));
}
