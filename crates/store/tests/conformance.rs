//! The embedded store does what every store must do.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::sync::Arc;

use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Store, conformance_tests};

#[expect(clippy::unused_async, reason = "other backends are set up over a network")]
async fn embedded() -> (Arc<dyn Store>, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("data"), EmbeddedOptions::default()).unwrap();
    (Arc::new(store), "lab".to_owned(), dir)
}

conformance_tests!(embedded);
