//! Full lease cycles a second against the store's durable commits, and how soon a new lease is ready.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jumpstarter_protocol::client::v1::{
    CreateLeaseRequest, DeleteLeaseRequest, GetLeaseRequest, Lease, client_service_client::ClientServiceClient,
};
use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Object, Store as _, Write};
use jumpstarter_testkit::{
    Lab, MINUTE,
    figures::{Samples, say},
    fleet::{Fleet, recruit},
    grpc::{Grpc, Identity, wanted},
};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::{Status, transport::Channel};

/// Idle exporters beside those in use.
const IDLE: usize = 1000;
/// Clients that lease at the same time, each a device of its own.
const BUSY: usize = 16;
const MEASURED: Duration = Duration::from_secs(10);

fn main() {
    let lab = Lab::start();
    let client = lab.grpc_client("alice");
    let idle = Fleet::connect(&client, recruit(&lab, "idle", IDLE));
    let busy = Fleet::connect(&client, recruit(&lab, "dut", BUSY));

    let (cycles, ready) = cycles(&client, &busy);
    let commits = commits(&client, &lab.sandbox.dir("raw"));
    drop(idle);
    say("leases, full cycles a second", format_args!("{cycles:.0}"));
    say("leases, raw durable commits a second", format_args!("{commits:.0}"));
    say("leases, cycles over commits (aim ≥ 0.5)", format_args!("{:.2}", cycles / commits));
    say(&format!("leases, create → ready beside {IDLE} (aim p99 ≤ 20 ms)"), ready);
}

/// Create → ready → release, by every client at once.
fn cycles(client: &Grpc, busy: &Fleet) -> (f64, Samples) {
    let identity = Arc::new((**client).clone());
    client.block_on(async {
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for member in busy.members() {
            let name = member.name.clone();
            clients.spawn(cycle(Arc::clone(&identity), name, begun + MEASURED));
        }
        let mut ready = Samples::default();
        while let Some(done) = clients.join_next().await {
            ready.extend(done.expect("a task").expect("a cycle"));
        }
        let spent = begun.elapsed().as_secs_f64();
        let count = u32::try_from(ready.len()).expect("few cycles fit into seconds");
        (f64::from(count) / spent, ready)
    })
}

async fn cycle(identity: Arc<Identity>, exporter: String, until: Instant) -> Result<Vec<Duration>, Status> {
    let mut clients = ClientServiceClient::new(identity.connect());
    let parent = format!("namespaces/{}", identity.namespace);
    let selector = format!("name={exporter}");
    let mut ready = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let lease = Some(wanted(&selector, MINUTE));
        let request = CreateLeaseRequest { parent: parent.clone(), lease_id: String::new(), lease };
        let mut lease = clients.create_lease(identity.request(request)).await?.into_inner();
        while !is_ready(&lease) {
            lease = look(&mut clients, &identity, &lease.name).await?;
        }
        ready.push(begun.elapsed());
        let request = DeleteLeaseRequest { name: lease.name.clone() };
        clients.delete_lease(identity.request(request)).await?;
    }
    Ok(ready)
}

async fn look(clients: &mut ClientServiceClient<Channel>, identity: &Identity, name: &str) -> Result<Lease, Status> {
    let request = GetLeaseRequest { name: name.to_owned() };
    Ok(clients.get_lease(identity.request(request)).await?.into_inner())
}

fn is_ready(lease: &Lease) -> bool {
    lease.conditions.iter().any(|condition| condition.r#type() == "Ready" && condition.status() == "True")
}

/// Durable commits, each changing two objects as a granted lease does, by as many writers as there were clients.
fn commits(client: &Grpc, directory: &std::path::Path) -> f64 {
    let store = EmbeddedStore::open(directory, EmbeddedOptions::default()).expect("open a store");
    client.block_on(async {
        let begun = Instant::now();
        let mut writers = JoinSet::new();
        for number in 0..BUSY {
            writers.spawn(write(store.clone(), number, begun + MEASURED / 2));
        }
        let mut commits = 0_u32;
        while let Some(done) = writers.join_next().await {
            commits += done.expect("a task");
        }
        f64::from(commits) / begun.elapsed().as_secs_f64()
    })
}

async fn write(store: EmbeddedStore, number: usize, until: Instant) -> u32 {
    let object = |kind: &str, turn: u32| {
        let spec = json!({ "duration": "1m0s", "selector": { "matchLabels": { "turn": turn.to_string() } }, "clientRef": { "name": "alice" } });
        let value = json!({
            "apiVersion": "jumpstarter.dev/v1alpha1",
            "kind": kind,
            "metadata": { "namespace": "default", "name": format!("{}-{number}", kind.to_lowercase()), "labels": { "turn": turn.to_string() } },
            "spec": if kind == "Lease" { spec } else { json!({}) },
        });
        Object::from_value(value).expect("a valid object")
    };
    let mut commits = 0;
    let first = vec![Write::Create(object("Exporter", 0)), Write::Create(object("Lease", 0))];
    store.transact(first).await.expect("create two objects");
    while Instant::now() < until {
        commits += 1;
        let both = vec![Write::Update(object("Exporter", commits)), Write::Update(object("Lease", commits))];
        store.transact(both).await.expect("commit two objects");
    }
    commits
}
