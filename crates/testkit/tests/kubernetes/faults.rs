//! An API server in trouble, while leases come and go.

use std::{thread::sleep, time::Duration};

use jumpstarter_kube_testkit::{ApiServer, FaultProxy, Options, Rule, Then};
use jumpstarter_testkit::{Cluster, Lab, MINUTE, eventually};
use tokio::runtime::Runtime;

use crate::cycle::{Progress, leases_cycle};

const LEASES: usize = 40;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[track_caller]
fn until(progress: &Progress, share: usize) {
    eventually("progress", MINUTE * 4, || (progress.done() >= LEASES * share / 100).then_some(()));
}

#[test]
fn an_api_server_is_restarted_and_silent_for_a_while() {
    // Of its own: the others of this program must not suffer.
    let api: &'static ApiServer = Box::leak(Box::new(ApiServer::start_blocking(Options::default())));
    let mut lab = Lab::in_cluster(api, 1);
    leases_cycle(&mut lab, 4, LEASES, |_, progress| {
        until(progress, 20);
        api.restart();
        until(progress, 40);
        api.pause();
        // Shorter than what a leader may do without it.
        sleep(Duration::from_secs(4));
        api.resume();
        until(progress, 60);
        api.pause();
        // Longer than that: it must step down, and lead again.
        sleep(Duration::from_secs(15));
        api.resume();
    });
}

#[test]
fn an_api_server_refuses_and_dawdles_for_a_while() {
    let api = ApiServer::shared_blocking();
    let runtime = runtime();
    let proxy = runtime.block_on(FaultProxy::start(api));
    let mut lab = Lab::in_cluster_through(api, &proxy.url(), 1);
    leases_cycle(&mut lab, 4, LEASES, |_, progress| {
        for (share, code) in [(10, 429), (20, 409), (30, 500), (40, 503)] {
            until(progress, share);
            let retry_after = (code == 429).then_some(1);
            proxy.add(Rule::path("jumpstarter.dev", Then::Status { code, retry_after }).writes().times(8));
        }
        until(progress, 50);
        proxy.add(Rule::path("jumpstarter.dev", Then::LoseAnswer).writes().times(3));
        until(progress, 60);
        proxy.clear();
        proxy.add(Rule::every(Then::Delay(Duration::from_millis(300))));
        until(progress, 70);
        proxy.clear();
        // The history that a watch wants to go on from is no longer there.
        proxy.add(Rule::path("watch=", Then::Status { code: 410, retry_after: None }).times(4));
        proxy.cut();
        until(progress, 80);
        proxy.clear();
    });
}

#[test]
fn a_watch_that_stalls_without_a_word_is_noticed() {
    let api = ApiServer::shared_blocking();
    let runtime = runtime();
    let proxy = runtime.block_on(FaultProxy::start(api));
    let lab = Lab::in_cluster_through(api, &proxy.url(), 1);
    let cluster = lab.service.cluster().unwrap();
    proxy.stall_watches();
    let create = ["create", "-n", cluster.namespace(), "-f", "-"];
    let client = r#"{"apiVersion":"jumpstarter.dev/v1alpha1","kind":"Client","metadata":{"name":"unseen"}}"#;
    cluster.api().kubectl_with(&create, client).unwrap();
    // Its credential appears although no event ever arrives.
    credential(cluster, "unseen");
}

#[track_caller]
fn credential(cluster: &Cluster, client: &str) {
    let get = ["get", "client", client, "-n", cluster.namespace(), "-o", "jsonpath={.status.credential.name}"];
    eventually("a credential", MINUTE * 3, || (!cluster.api().kubectl(&get).is_empty()).then_some(()));
}
