//! The store on Kubernetes does what every store must do, against a real API server.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::sync::Arc;

use jumpstarter_kube_testkit::ApiServer;
use jumpstarter_store::{Store, conformance_tests};
use jumpstarter_store_kubernetes::{KubernetesMetrics, KubernetesOptions, KubernetesStore, client};

async fn kubernetes() -> (Arc<dyn Store>, String, ()) {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("conformance").await;
    let client = client(server.config(Some(server.admin_token()))).unwrap();
    let options = KubernetesOptions::new(namespace.as_str());
    let store = KubernetesStore::new(client, options, KubernetesMetrics::default());
    store.preflight().await.unwrap();
    (Arc::new(store), namespace, ())
}

conformance_tests!(kubernetes);
