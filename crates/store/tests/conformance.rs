//! The embedded store does what every store must do.

use std::sync::Arc;

use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Store, conformance_tests};

async fn embedded() -> (Arc<dyn Store>, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("data"), EmbeddedOptions::default()).unwrap();
    (Arc::new(store), "lab".to_owned(), dir)
}

conformance_tests!(embedded);
