//! Clients that need no router, with real programs: which way is taken, and that nobody notices when it is the other.

use std::net::TcpListener;

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{Done, Exporter, ExporterSetup, Jmp, Lab, jmp::Release};

use crate::device::use_device;

/// An exporter of ours that takes clients itself.
fn with_door(lab: &Lab, name: &str, addresses: &str) -> Exporter {
    let setup = ExporterSetup::new(name).release(Release::Rust).env("JMP_DIRECT_LISTEN", "127.0.0.1:0");
    lab.exporter(setup.env("JMP_DIRECT_ADDRESS", addresses))
}

/// A shell of ours in which a program uses a device of `exporter`.
fn shell(client: &Jmp, exporter: &str, env: &[(&str, &str)]) -> Done {
    let mut command = client.command(&["shell", "-n", exporter, "--", "j", "power", "read"]);
    command.envs(env.iter().copied());
    client.run_command(command).ok().says("voltage=5.0")
}

#[test]
fn clients_go_straight_to_exporters_that_let_them_and_others_do_not_notice() {
    let lab = Lab::start();
    let mut open = with_door(&lab, "open", "");
    let alice = lab.client("alice");
    let bob = lab.client("bob").with(Release::Rust);

    // The released `j` inside, which knows nothing of ways.
    let released = format!("{}:/usr/bin:/bin", NEWEST.find().unwrap().bin().display());
    shell(&bob, "open", &[("PATH", &released)]).says("Connected to exporter open directly at 127.0.0.1:");
    lab.await_available(&mut open);
    shell(&bob, "open", &[("JMP_DIRECT", "off")]).says("Connected to exporter open through the router");
    lab.await_available(&mut open);
    open.process().wait_line("a client connected directly");
    // A released client knows nothing of it.
    let direct = open.process().count("a client connected directly");
    let done = use_device(&alice, "name=open", &[]).ok();
    for line in ["power ok", "stream ok", "forward ok"] {
        done.clone().says(line);
    }
    assert_eq!(open.process().count("a client connected directly"), direct);
    lab.await_available(&mut open);
}

#[test]
fn where_the_exporter_cannot_be_reached_the_router_is_used() {
    let lab = Lab::start();
    // A port that takes connections and never answers, as behind a firewall that drops packets; and a closed one.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut walled = with_door(&lab, "walled", &format!("{},127.0.0.1:1", mute.local_addr().unwrap()));
    // Our client, a released exporter: it has no door, and ignores what it is told of one.
    let _old = lab.exporter(ExporterSetup::new("old").env("JMP_DIRECT_LISTEN", "127.0.0.1:0"));
    let bob = lab.client("bob").with(Release::Rust);

    shell(&bob, "walled", &[]).says("Connected to exporter walled through the router");
    lab.await_available(&mut walled);
    assert_eq!(walled.process().count("a client connected directly"), 0);
    shell(&bob, "old", &[]).says("Connected to exporter old through the router");
}

#[test]
fn an_operator_can_have_all_traffic_pass_the_router() {
    let lab = Lab::with_flags(&["--no-direct"]);
    let _open = with_door(&lab, "open", "");
    let bob = lab.client("bob").with(Release::Rust);
    shell(&bob, "open", &[]).says("Connected to exporter open through the router");
}
