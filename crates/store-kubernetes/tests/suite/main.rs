//! What the store on Kubernetes adds to the contract, against a real API server: shared watches that survive, patience
//! with servers in trouble, errors that say what to do.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

mod events;
mod faults;
mod preflight;
mod rights;
mod watches;
mod writes;

use std::{future::Future, time::Duration};

use futures::StreamExt as _;
use jumpstarter_kube_testkit::{ApiServer, FaultProxy};
use jumpstarter_store::{Event, EventStream, Key, Kind, ListOptions, Object, Store, StoreError, Write};
use jumpstarter_store_kubernetes::{KubernetesMetrics, KubernetesOptions, KubernetesStore, client};
use serde_json::{Value, json};

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// A namespace of the shared server, seen through a proxy by one store and directly by another.
struct Lab {
    server: &'static ApiServer,
    namespace: String,
    proxy: FaultProxy,
    /// Through the proxy.
    store: KubernetesStore,
    /// Somebody else's, past the proxy.
    other: KubernetesStore,
}

impl Lab {
    async fn new(change: impl FnOnce(&mut KubernetesOptions)) -> Self {
        let server = ApiServer::shared().await;
        let namespace = server.namespace("store").await;
        let proxy = FaultProxy::start(server).await;
        let mut options = KubernetesOptions::new(namespace.as_str());
        change(&mut options);
        let through = client(proxy.config(server.admin_token())).unwrap();
        let store = KubernetesStore::new(through, options, KubernetesMetrics::default());
        let other = direct(server, &namespace);
        Self { server, namespace, proxy, store, other }
    }

    fn exporter(&self, name: &str) -> Object {
        exporter(&self.namespace, name)
    }

    fn key(&self, name: &str) -> Key {
        Key::new(Kind::Exporter, &self.namespace, name)
    }

    /// Watch requests for one kind that came by.
    fn watches(&self, plural: &str) -> usize {
        let path = format!("/{plural}?");
        self.proxy.seen().iter().filter(|seen| seen.is_watch() && seen.uri.contains(&path)).count()
    }
}

fn direct(server: &ApiServer, namespace: &str) -> KubernetesStore {
    let client = client(server.config(Some(server.admin_token()))).unwrap();
    KubernetesStore::new(client, KubernetesOptions::new(namespace), KubernetesMetrics::default())
}

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

fn exporter(namespace: &str, name: &str) -> Object {
    object(json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter",
        "metadata": { "name": name, "namespace": namespace }, "spec": { "enabled": true },
    }))
}

fn edit(object: &Object, change: impl FnOnce(&mut Value)) -> Object {
    let mut value = object.value().clone();
    change(&mut value);
    self::object(value)
}

fn with_endpoint(object: &Object, endpoint: &str) -> Object {
    edit(object, |value| value["status"] = json!({ "endpoint": endpoint }))
}

async fn one(store: &KubernetesStore, write: Write) -> Result<Object, StoreError> {
    within(store.transact(vec![write])).await.map(|mut objects| objects.remove(0))
}

async fn create(store: &KubernetesStore, object: Object) -> Object {
    one(store, Write::Create(object)).await.unwrap()
}

/// A watch of exporters from now on.
async fn watch(store: &KubernetesStore) -> EventStream {
    let list = within(store.list(Kind::Exporter, store.namespace(), ListOptions::default())).await.unwrap();
    within(store.watch(&[Kind::Exporter], list.resource_version)).await.unwrap()
}

async fn next(stream: &mut EventStream) -> Event {
    within(stream.next()).await.expect("a watch does not end").expect("an event")
}

async fn next_error(stream: &mut EventStream) -> StoreError {
    within(async {
        loop {
            if let Err(error) = stream.next().await.expect("an error comes before the end") {
                return error;
            }
        }
    })
    .await
}

fn describe(event: &Event) -> String {
    let what = match event {
        Event::Added(_) => '+',
        Event::Modified(_) => '~',
        Event::Deleted(_) => '-',
    };
    format!("{what}{}", event.object().name())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until it holds.
async fn eventually(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[track_caller]
fn mentions(error: &(impl std::fmt::Display + ?Sized), words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{text}` should mention `{word}`");
    }
}
