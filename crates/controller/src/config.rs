//! What the controller is told at start.

use std::{collections::BTreeMap, time::Duration};

/// Settings of the controller; complete and valid.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// The one namespace that is served.
    pub namespace: String,
    /// Address that clients and exporters are given for the controller, `host:port`.
    pub endpoint: String,
    /// Routers to hand out.
    pub routers: Vec<RouterTarget>,
    /// Most tags a lease may carry.
    pub max_tags: usize,
    /// Label keys shown to nobody who does not ask for them.
    pub hidden_labels: Vec<String>,
    /// Label keys out of use, with the notice for each; hidden like the above.
    pub deprecated_labels: BTreeMap<String, String>,
    /// How long a lost Status stream may take to come back.
    pub presence_grace: Duration,
    /// The longest that a set-up hook may run: bounds hold-back of Ready and the life of an exporter's ticket.
    pub hook_limit: Duration,
    /// How long ended leases are kept.
    pub lease_retention: Duration,
    /// Limits of waits that peers bring about.
    pub limits: Limits,
}

/// How long things may take. The usual values follow from what existing peers do; tests shorten them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a Dial waits for the exporter to listen. With pairing it must fit into the 20 s that old clients give
    /// a new connection.
    pub listener_wait: Duration,
    /// How long a Dial waits for another session after one has ended within the lease.
    pub session_wait: Duration,
    /// How long a repeated look at an undecided lease is held. Clients set no deadline; proxies on the way usually
    /// allow 60 s.
    pub repeated_look: Duration,
    /// How long exporters that were online before a restart may take to come back.
    pub startup_grace: Duration,
    /// How long an exporter whose lease is over may stay silent before it is taken to be idle. Longer than the
    /// retries of a lost report.
    pub tear_down: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            listener_wait: Duration::from_secs(12),
            session_wait: Duration::from_secs(5),
            repeated_look: Duration::from_secs(25),
            startup_grace: Duration::from_secs(20),
            tear_down: Duration::from_mins(5),
        }
    }
}

/// One router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterTarget {
    /// Address that peers are given, `host:port`.
    pub endpoint: String,
    /// Affinity: exporters with the same labels prefer this router.
    pub labels: BTreeMap<String, String>,
}

impl ControllerConfig {
    /// Usual settings for one namespace, endpoint and router.
    #[must_use]
    pub fn new(namespace: &str, endpoint: &str, router: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            endpoint: endpoint.to_owned(),
            routers: vec![RouterTarget { endpoint: router.to_owned(), labels: BTreeMap::new() }],
            max_tags: 10,
            hidden_labels: Vec::new(),
            deprecated_labels: BTreeMap::new(),
            presence_grace: Duration::from_secs(8),
            hook_limit: Duration::from_mins(30),
            lease_retention: Duration::from_hours(7 * 24),
            limits: Limits::default(),
        }
    }
}
