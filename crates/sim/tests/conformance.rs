//! The simulated store does what every store must do.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::sync::Arc;

use jumpstarter_sim::store::SimStore;
use jumpstarter_store::{Clock, Store, conformance_tests};

#[expect(clippy::unused_async, reason = "other backends are set up over a network")]
async fn simulated() -> (Arc<dyn Store>, String, ()) {
    (Arc::new(SimStore::sound(Clock::system(), 10_000)), "lab".to_owned(), ())
}

conformance_tests!(simulated);
