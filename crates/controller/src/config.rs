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
        }
    }
}
