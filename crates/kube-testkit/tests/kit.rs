//! The harness itself: a test of a harness that cannot fail would hide failures of others.

use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use jumpstarter_kube_testkit::{ApiServer, FaultProxy, Rule, Then};
use jumpstarter_model::{Exporter, ExporterSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a plain object")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_live_on_a_real_server() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("kit").await;
    let exporters: Api<Exporter> = Api::namespaced(server.admin(), &namespace);
    exporters.create(&PostParams::default(), &Exporter::new("board", ExporterSpec::default())).await.unwrap();
    let shown = server.kubectl(&["get", "exporters", "-n", &namespace]);
    assert!(shown.contains("board"), "{shown}");
    assert!(server.audit_log().contains(&format!("namespaces/{namespace}/exporters")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_of_a_deleted_owner_are_collected() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("kit").await;
    let exporters: Api<Exporter> = Api::namespaced(server.admin(), &namespace);
    let owner =
        exporters.create(&PostParams::default(), &Exporter::new("owner", ExporterSpec::default())).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.admin(), &namespace);
    let mut dependent = config_map("dependent");
    dependent.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter", "name": "owner",
            "uid": owner.metadata.uid.unwrap(),
        }))
        .unwrap(),
    ]);
    maps.create(&PostParams::default(), &dependent).await.unwrap();
    exporters.delete("owner", &DeleteParams::default()).await.unwrap();
    tokio::time::timeout(Duration::from_mins(1), async {
        while maps.get_opt("dependent").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the dependent goes with its owner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_those_of_the_bearer() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("kit").await;
    let token = server.service_account(&namespace, "nobody").await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(Some(&token)), &namespace);
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("configmaps is forbidden"), "{refused}");
    let stranger: Api<ConfigMap> = Api::namespaced(server.client(Some("unknown")), &namespace);
    assert!(matches!(stranger.list(&ListParams::default()).await, Err(kube::Error::Api(status)) if status.code == 401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_comes_back_with_what_it_had() {
    let server = ApiServer::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(server.admin(), "default");
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    server.stop();
    assert!(maps.get("kept").await.is_err(), "it is down");
    server.up();
    maps.get("kept").await.unwrap();
    server.pause();
    let answer = tokio::time::timeout(Duration::from_millis(500), maps.get("kept")).await;
    assert!(answer.is_err(), "it is silent, and yet it said {answer:?}");
    server.resume();
    maps.get("kept").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_does_what_its_rules_say() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("kit").await;
    let proxy = FaultProxy::start(server).await;
    let maps: Api<ConfigMap> = Api::namespaced(proxy.client(server.admin_token()), &namespace);
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();

    proxy.add(Rule::path("/configmaps", Then::Status { code: 409, retry_after: None }).writes().times(1));
    let refused = maps.create(&PostParams::default(), &config_map("two")).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 409));
    maps.create(&PostParams::default(), &config_map("two")).await.unwrap();

    proxy.add(Rule::path("/configmaps", Then::LoseAnswer).writes().times(1));
    let (params, three) = (PostParams::default(), config_map("three"));
    let lost = maps.create(&params, &three);
    // Time enough for the request to be made; the answer never comes.
    assert!(tokio::time::timeout(Duration::from_secs(2), lost).await.is_err());
    maps.get("three").await.unwrap();

    proxy.clear();
    // An answer in many chunks arrives whole.
    for number in 0..40 {
        maps.create(&PostParams::default(), &config_map(&format!("many-{number}"))).await.unwrap();
    }
    assert!(maps.list(&ListParams::default()).await.unwrap().items.len() > 40);
    assert!(proxy.seen().iter().any(|seen| seen.method == http::Method::POST));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_stall_and_are_cut() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("kit").await;
    let proxy = FaultProxy::start(server).await;
    let client = proxy.client(server.admin_token());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let request = http::Request::get(format!("/api/v1/namespaces/{namespace}/configmaps?watch=true&resourceVersion=0"));
    let mut lines = client.request_stream(request.body(Vec::new()).unwrap()).await.unwrap().lines();
    maps.create(&PostParams::default(), &config_map("seen")).await.unwrap();
    loop {
        let line = lines.try_next().await.unwrap().expect("a line");
        if line.contains("\"seen\"") {
            break;
        }
    }
    proxy.stall_watches();
    maps.create(&PostParams::default(), &config_map("unseen")).await.unwrap();
    // One that was already on its way may still come.
    let silent = async { while lines.next().await.is_some_and(|line| !line.unwrap().contains("\"unseen\"")) {} };
    assert!(tokio::time::timeout(Duration::from_secs(1), silent).await.is_err(), "the watch stands still");
    proxy.cut();
    proxy.clear();
    let end = async { while let Ok(Some(_)) = lines.try_next().await {} };
    tokio::time::timeout(Duration::from_secs(30), end).await.expect("the watch ends");
}
