//! What is missing in a cluster is said at start, with what to do.

use std::error::Error as _;

use jumpstarter_kube_testkit::ApiServer;
use jumpstarter_store::{Kind, ListOptions, Store as _};
use jumpstarter_store_kubernetes::{
    KubernetesMetrics, KubernetesOptions, KubernetesStore, Permission, PreflightError, client,
};

use serde_json::json;

use crate::{create, describe, direct, exporter, mentions, object, rights::store_with, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_custom_resources_are_named() {
    let server = ApiServer::start().await;
    let namespace = server.namespace("bare").await;
    let store = direct(&server, &namespace);
    within(store.preflight()).await.unwrap();
    let _ = server.kubectl(&["delete", "crd", "leases.jumpstarter.dev", "--wait=true"]);
    let error = within(async {
        loop {
            if let Err(error) = store.preflight().await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(&error, PreflightError::MissingCrds { missing } if missing.len() == 1), "{error:?}");
    mentions(&error, &["leases.jumpstarter.dev", "jumpstarter crds | kubectl apply -f -"]);
    let refused = within(store.list(Kind::Lease, &namespace, ListOptions::default())).await.unwrap_err();
    mentions(&refused, &["list leases.jumpstarter.dev", "jumpstarter crds | kubectl apply -f -"]);
    let _ = server.kubectl(&["delete", "crd", "--all", "--wait=true"]);
    within(async {
        loop {
            match store.preflight().await {
                Err(PreflightError::MissingCrds { missing }) if missing.len() == 4 => return,
                _ => {}
            }
        }
    })
    .await;
}

/// A cluster that was set up for an older service: its definitions, its Role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_optional_kinds_the_rest_works() {
    let server = ApiServer::start().await;
    let namespace = server.namespace("older").await;
    let _ = server.kubectl(&["delete", "crd", "leasequotas.jumpstarter.dev", "--wait=true"]);
    let store = direct(&server, &namespace);
    let all = within(async {
        loop {
            within(store.preflight()).await.unwrap();
            let all = store.list(Kind::LeaseQuota, &namespace, ListOptions::default()).await;
            if let Ok(all) = all {
                break all;
            }
        }
    })
    .await;
    assert_eq!(all.items, []);
    within(store.warm(&Kind::OBSERVED)).await.unwrap();
    let list = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.unwrap();
    let mut news = within(store.watch(&Kind::OBSERVED, list.resource_version)).await.unwrap();
    create(&direct(&server, &namespace), exporter(&namespace, "e")).await;
    let event = within(futures::StreamExt::next(&mut news)).await.unwrap().unwrap();
    assert_eq!(describe(&event), "+e");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn optional_kinds_that_may_not_be_watched_are_empty() {
    let (server, store, namespace) = store_with(&Permission::required()).await;
    let window = object(json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "MaintenanceWindow",
        "spec": { "exporters": ["e"], "schedule": "0 2 * * 0", "duration": "2h" },
        "metadata": { "name": "w", "namespace": namespace },
    }));
    create(&direct(server, &namespace), window).await;
    let list = |kind| store.list(kind, &namespace, ListOptions::default());
    let refused = within(list(Kind::MaintenanceWindow)).await.unwrap_err();
    mentions(&refused, &["list maintenancewindows.jumpstarter.dev", "Role"]);
    within(store.preflight()).await.unwrap();
    assert_eq!(within(list(Kind::MaintenanceWindow)).await.unwrap().items, []);
    within(store.warm(&Kind::OBSERVED)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_namespace_is_named() {
    let server = ApiServer::shared().await;
    let error = within(direct(server, "nowhere").preflight()).await.unwrap_err();
    mentions(&error, &["namespace `nowhere` does not exist", "kubectl create namespace nowhere"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_permissions_are_named_all_at_once() {
    let some = Permission::required().into_iter().filter(|permission| permission.resource != "leases");
    let (_, store, namespace) = store_with(&some.collect::<Vec<_>>()).await;
    let error = within(store.preflight()).await.unwrap_err();
    let PreflightError::MissingPermissions { missing, .. } = &error else { panic!("{error:?}") };
    let wanted: Vec<Permission> =
        Permission::required().into_iter().filter(|permission| permission.resource == "leases").collect();
    assert_eq!(missing, &wanted);
    let place = format!("namespace `{namespace}`");
    mentions(&error, &[&place, "watch leases.jumpstarter.dev", "update leases.jumpstarter.dev/status", "Role"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_is_told_so() {
    let server = ApiServer::shared().await;
    let client = client(server.config(Some("expired"))).unwrap();
    let store = KubernetesStore::new(client, KubernetesOptions::new("default"), KubernetesMetrics::default());
    let error = within(store.preflight()).await.unwrap_err();
    mentions(error.source().unwrap(), &["credentials", "expired"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_said_to_be() {
    let mut config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    config.auth_info.token = Some("t".to_owned().into());
    let store =
        KubernetesStore::new(client(config).unwrap(), KubernetesOptions::new("n"), KubernetesMetrics::default());
    let error = within(store.preflight()).await.unwrap_err();
    assert!(matches!(error, PreflightError::Unreachable(_)), "{error:?}");
    mentions(error.source().unwrap(), &["refused"]);
}
