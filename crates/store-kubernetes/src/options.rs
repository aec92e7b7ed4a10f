//! How the store behaves.

use std::{fmt, sync::Arc, time::Duration};

use jumpstarter_store::{EventRecorder, LogEvents};

/// How a store on Kubernetes behaves. Every field but the namespace has a default.
#[derive(Clone)]
pub struct KubernetesOptions {
    /// The one namespace whose objects these are.
    pub namespace: String,
    /// Longest that one read or write takes, with its repetitions.
    pub request_timeout: Duration,
    /// Longest that a whole list takes, over all its pages.
    pub list_timeout: Duration,
    /// How long the API server keeps one upstream watch open; below 295 s.
    pub watch_timeout: Duration,
    /// Silence after which an upstream watch counts as stalled. API servers send a bookmark about once a minute.
    pub watch_idle: Duration,
    /// Time after which a write of this process must have come back in the watch of its kind.
    pub echo_timeout: Duration,
    /// Events that each kind keeps for watches that resume and readers that are slow.
    pub history_events: usize,
    /// Upper limit of their JSON's size, for each kind.
    pub history_bytes: usize,
    /// Where it tells of objects that are none.
    pub events: Arc<dyn EventRecorder>,
}

impl KubernetesOptions {
    /// The defaults, for the objects of one namespace.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            request_timeout: Duration::from_secs(15),
            list_timeout: Duration::from_mins(1),
            watch_timeout: Duration::from_secs(270),
            watch_idle: Duration::from_secs(75),
            echo_timeout: Duration::from_secs(5),
            history_events: 8192,
            history_bytes: 32 << 20,
            events: Arc::new(LogEvents),
        }
    }
}

impl fmt::Debug for KubernetesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesOptions").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
