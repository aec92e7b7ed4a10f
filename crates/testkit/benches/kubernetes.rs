//! The service on a real API server whose etcd waits for the disk: requests of an idle lab, lease create → ready, and
//! how soon another replica serves after the leader was killed.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use jumpstarter_kube_testkit::{ApiServer, Options};
use jumpstarter_protocol::client::v1::{GetLeaseRequest, Lease};
use jumpstarter_testkit::{
    ExporterSetup, Lab, MINUTE, eventually,
    figures::{Samples, say},
    fleet::{Fleet, recruit},
    grpc::{Grpc, wanted},
    jmp::Release,
};
use serde_json::json;

/// Connected exporters that do nothing.
const IDLE: usize = 500;
/// Leases whose way to ready is measured, one after the other.
const LEASES: usize = 200;
/// Leaders killed.
const KILLS: usize = 5;

fn main() {
    let options = Options { durable: true };
    let api: &'static ApiServer = Box::leak(Box::new(ApiServer::start_blocking(options)));
    idle(api);
    ready(api);
    failover(api);
}

/// Requests that the API server counted in a minute, by what they were, without watches, which are counted at their end.
fn requests_a_minute(api: &ApiServer) -> BTreeMap<String, f64> {
    let before = requests(api);
    sleep(MINUTE);
    let after = requests(api);
    let change = |(key, count): (String, f64)| {
        let change = count - before.get(&key).copied().unwrap_or_default();
        (key, change)
    };
    after.into_iter().map(change).filter(|(_, change)| *change > 0.0).collect()
}

fn requests(api: &ApiServer) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for line in api.kubectl(&["get", "--raw", "/metrics"]).lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let Some((labels, count)) = rest.rsplit_once("} ") else {
            continue;
        };
        let label = |name: &str| {
            let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
            labels[start..].split('"').next()
        };
        let key = format!("{} {}", label("verb").unwrap_or("?"), label("resource").unwrap_or("?"));
        *found.entry(key).or_default() += count.parse::<f64>().unwrap_or_default();
    }
    found
}

fn idle(api: &'static ApiServer) {
    let alone = requests_a_minute(api);
    let lab = Lab::in_cluster(api, 1);
    let client = lab.grpc_client("alice");
    let fleet = Fleet::connect(&client, recruit(&lab, "idle", IDLE));
    // What connecting them brought about is over after that.
    sleep(Duration::from_secs(10));
    let with = requests_a_minute(api);
    let sum = |of: &BTreeMap<String, f64>| of.values().sum::<f64>();
    say("kubernetes, requests a minute without us", format_args!("{:.0}", sum(&alone)));
    say(&format!("kubernetes, with {} idle exporters", fleet.members().len()), format_args!("{:.0}", sum(&with)));
    for (key, count) in with {
        let count = count - alone.get(&key).copied().unwrap_or_default();
        if count >= 1.0 {
            say(&format!("  {key}"), format_args!("{count:.0}"));
        }
    }
}

/// Create → ready through the service, beside creating an object and seeing it in a watch on the same API server.
fn ready(api: &'static ApiServer) {
    let lab = Lab::in_cluster(api, 1);
    let client = lab.grpc_client("alice");
    let _fleet = Fleet::connect(&client, recruit(&lab, "dut", 1));
    let mut samples = Samples::default();
    for number in 0..LEASES {
        let name = format!("lease-{number}");
        let begun = Instant::now();
        let mut lease = client.create(&name, wanted("name=dut-0", MINUTE)).expect("create a lease");
        while !is_ready(&lease) {
            let request = GetLeaseRequest { name: client.path("leases", &name) };
            lease = client.call(client.clients().get_lease(client.request(request))).expect("look at a lease");
        }
        samples.extend([begun.elapsed()]);
        client.delete(&name).expect("release a lease");
        // The next one shall find a free device: waiting for tear-down is another figure.
        eventually("a free exporter", MINUTE, || {
            let shown = client.exporter("dut-0").expect("look at the exporter");
            (shown.status() == jumpstarter_protocol::v1::ExporterStatus::Available).then_some(())
        });
    }
    let bare = round_trips(&client, api, lab.namespace());
    say("kubernetes, bare create and watch", &bare);
    say("kubernetes, lease create → ready", &samples);
    for percent in [50, 99] {
        let ratio = samples.percentile(percent).as_secs_f64() / bare.percentile(percent).as_secs_f64();
        say(&format!("kubernetes, ready over bare, p{percent} (aim ≤ 3)"), format_args!("{ratio:.2}"));
    }
}

fn is_ready(lease: &Lease) -> bool {
    lease.conditions.iter().any(|condition| condition.r#type() == "Ready" && condition.status() == "True")
}

fn round_trips(client: &Grpc, api: &ApiServer, namespace: &str) -> Samples {
    client.block_on(async {
        let kube = api.admin();
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let watch = http::Request::get(format!("{path}?watch=true&resourceVersion=0")).body(Vec::new());
        let mut lines = kube.request_stream(watch.expect("a plain request")).await.expect("watch").lines();
        let mut samples = Samples::default();
        for number in 0..LEASES {
            let name = format!("bare-{number}");
            let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }).to_string();
            let begun = Instant::now();
            let create = http::Request::post(&path).header("content-type", "application/json").body(body.into_bytes());
            let _ = kube.request_text(create.expect("a plain request")).await.expect("create");
            let mark = format!("\"name\":\"{name}\"");
            while !lines.try_next().await.expect("a watch").expect("an event").contains(&mark) {}
            samples.extend([begun.elapsed()]);
        }
        samples
    })
}

/// From the death of the leader to the first ticket.
fn failover(api: &'static ApiServer) {
    let mut lab = Lab::in_cluster(api, 2);
    let _dut = lab.exporter(ExporterSetup::new("dut").release(Release::Rust));
    let client = lab.grpc_client("alice");
    let lease = client.create("held", wanted("name=dut", MINUTE * 600)).expect("create a lease");
    let name = lease.name.rsplit('/').next().unwrap_or_default().to_owned();
    eventually("a first ticket", MINUTE, || client.dial(&name).ok());
    let mut samples = Samples::default();
    for _ in 0..KILLS {
        let leader = eventually("a leader", MINUTE, || lab.service.leader());
        let begun = Instant::now();
        lab.service.kill_replica(leader);
        eventually("a ticket again", MINUTE, || client.dial(&name).ok());
        samples.extend([begun.elapsed()]);
        lab.service.up();
    }
    say("kubernetes, SIGKILL of the leader → first Dial served (aim ≤ 15 s)", &samples);
}
