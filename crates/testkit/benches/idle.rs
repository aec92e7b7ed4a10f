//! Memory of the service per connected idle exporter.

use jumpstarter_testkit::{
    Lab,
    figures::{resident, say},
    fleet::{Fleet, recruit},
};

const EXPORTERS: usize = 5000;

fn main() {
    let mut lab = Lab::start();
    let identities = recruit(&lab, "idle", EXPORTERS);
    let client = lab.grpc_client("alice");
    // Started afresh, so that making the objects does not count; once connected and left, so that what the
    // allocator keeps for any number of connections does not count either.
    lab.service.stop();
    lab.service.up();
    drop(Fleet::connect(&client, identities[..50].to_vec()));
    let pid = lab.service.process().pid();
    let before = resident(pid);
    let fleet = Fleet::connect(&client, identities);
    let after = resident(pid);

    let kib = |bytes: u64| format!("{} KiB", bytes / 1024);
    let each = after.saturating_sub(before) / fleet.members().len() as u64;
    say("idle, memory with no exporter connected", kib(before));
    say(&format!("idle, memory with {} exporters", fleet.members().len()), kib(after));
    say("idle, memory per exporter (aim ≤ 40 KiB)", kib(each));
}
