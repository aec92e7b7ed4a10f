//! A store behind a socket.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, StatusCode};
use jumpstarter_resource_api::{ServeError, client, router, serve_unix};
use jumpstarter_store::{EmbeddedOptions, EmbeddedStore};
use serde_json::Value;
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running API.
pub(crate) struct Lab {
    pub(crate) kube: kube::Client,
    pub(crate) store: EmbeddedStore,
    pub(crate) socket: PathBuf,
    pub(crate) cancel: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("data"), EmbeddedOptions::default()).unwrap();
        let socket = store.path().with_file_name("admin.sock");
        let cancel = CancellationToken::new();
        let router = router(Arc::new(store.clone()), "lab", Some(store.clone()));
        let (path, stop) = (socket.clone(), cancel.clone());
        let served = TaskTracker::new().spawn(async move { serve_unix(&path, router, stop).await });
        connectable(&socket).await;
        Self { kube: client(&socket, "lab"), store, socket, cancel, served, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A request without a client library: status and body.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        type_: &str,
        body: impl Into<Vec<u8>>,
    ) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header("content-type", type_)
            .body(kube::client::Body::from(body.into()))
            .unwrap();
        let response = within(self.kube.send(request)).await.unwrap();
        let status = response.status();
        let bytes = within(response.into_body().collect_bytes()).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub(crate) async fn json(&self, method: Method, path: &str, type_: &str, body: &str) -> (StatusCode, Value) {
        let (status, body) = self.request(method, path, type_, body.as_bytes().to_vec()).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// Ends the service, which takes its socket away.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        within(self.served).await.unwrap().unwrap();
        assert!(!self.socket.exists());
    }
}

pub(crate) async fn connectable(socket: &Path) {
    within(async {
        while UnixStream::connect(socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}
