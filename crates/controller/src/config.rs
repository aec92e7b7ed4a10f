//! What the controller is told: once at start, and what may change while it runs.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jumpstarter_auth::TokenIssuer;
use jumpstarter_model::identity::DEFAULT_INTERNAL_PREFIX;
use jumpstarter_scheduler::QuarantineConfig;
use jumpstarter_store::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Settings of the controller; complete and valid.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// The one namespace that is served.
    pub namespace: String,
    /// Address that clients and exporters are given for the controller, `host:port`.
    pub endpoint: String,
    /// Put before the subject of our own tokens to get the user name.
    pub internal_prefix: String,
    /// How long a lost Status stream may take to come back.
    pub presence_grace: Duration,
    /// The longest that a set-up hook may run: bounds hold-back of Ready and the life of an exporter's ticket.
    pub hook_limit: Duration,
    /// Time between the notice of preemption and the end of a spot lease; zero ends it without a notice.
    pub preemption_grace: Duration,
    /// Who comes first, and how many may wait.
    pub queue: QueueConfig,
    /// When exporters of which leases fail are kept back, and for how long.
    pub quarantine: QuarantineConfig,
    /// Time for tear-down that is kept free between two reservations of an exporter, and before its maintenance.
    pub turnaround: Duration,
    /// How long ended leases are kept.
    pub lease_retention: Duration,
    /// Clients may be told how to reach exporters without a router, where those exporters want it.
    pub direct_paths: bool,
    /// Limits of waits that peers bring about.
    pub limits: Limits,
    /// What may change while the controller runs.
    pub live: Live,
    /// The time by which leases begin and end and tokens are judged.
    pub clock: Clock,
}

/// Who comes first among those who wait, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Wait after which a lease comes before all younger ones, whatever their priority or share; zero: never.
    pub longest_wait: Duration,
    /// Time in which past use comes to count half for fair share.
    pub share_half_life: Duration,
    /// Most leases of one client that wait at once.
    pub max_waiting: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { longest_wait: Duration::from_hours(24), share_half_life: Duration::from_hours(24), max_waiting: 2000 }
    }
}

/// Settings that take effect at once when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changeable {
    /// Routers to hand out.
    pub routers: Vec<RouterTarget>,
    /// Most tags a lease may carry; leases that have more keep them.
    pub max_tags: usize,
    /// Label keys shown to nobody who does not ask for them.
    pub hidden_labels: Vec<String>,
    /// Label keys out of use, with the notice for each; hidden like the above.
    pub deprecated_labels: BTreeMap<String, String>,
    /// Life of tokens issued from now on; the issuer's own when absent.
    pub token_lifetime: Option<Duration>,
    /// Where exporters are told to send their logs.
    pub telemetry: Vec<TelemetryTarget>,
}

/// The changeable settings, shared: clones see what any of them sets, at once.
#[derive(Clone)]
pub struct Live(Arc<watch::Sender<Arc<Changeable>>>);

impl Live {
    /// A handle of its own.
    #[must_use]
    pub fn new(settings: Changeable) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(settings))))
    }

    /// The settings of this moment. Take them once for each decision, so that it is made of one piece.
    #[must_use]
    pub fn get(&self) -> Arc<Changeable> {
        Arc::clone(&self.0.borrow())
    }

    /// Learns of changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Changeable>> {
        self.0.subscribe()
    }

    /// Changes the settings for everybody who shares them.
    pub fn set(&self, settings: Changeable) {
        self.0.send_replace(Arc::new(settings));
    }

    /// Changes some of the settings.
    pub fn change(&self, change: impl FnOnce(&mut Changeable)) {
        self.0.send_modify(|settings| change(Arc::make_mut(settings)));
    }
}

/// Keeps the lifetime of an issuer's tokens what the settings say.
pub(crate) struct TokenLifetime {
    changes: watch::Receiver<Arc<Changeable>>,
    issuer: Arc<TokenIssuer>,
}

impl TokenLifetime {
    /// Sets the lifetime of now.
    pub(crate) fn apply(live: &Live, issuer: Arc<TokenIssuer>) -> Self {
        let mut follower = Self { changes: live.subscribe(), issuer };
        follower.set();
        follower
    }

    fn set(&mut self) {
        let lifetime = self.changes.borrow_and_update().token_lifetime;
        if let Some(lifetime) = lifetime {
            self.issuer.set_lifetime(jiff::SignedDuration::try_from(lifetime).unwrap_or(jiff::SignedDuration::MAX));
        }
    }

    /// Follows changes until `stop` fires or nobody can make any.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        while let Some(Ok(())) = stop.run_until_cancelled(self.changes.changed()).await {
            self.set();
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
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
    /// Whether to ask it how it fares. A router that is not asked is taken to be well and idle: for those that peers
    /// reach and the controller does not.
    pub probe: bool,
}

/// One place that takes logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryTarget {
    /// `host:port`.
    pub endpoint: String,
    /// PEM text; empty when the system's roots suffice.
    pub certificate: String,
    /// Lines below it are not sent: `debug`, `info`, `warning`, `error` or `critical`.
    pub min_severity: String,
}

impl Changeable {
    /// Usual settings with one router, which is not asked how it fares.
    #[must_use]
    pub fn new(router: &str) -> Self {
        Self {
            routers: vec![RouterTarget { endpoint: router.to_owned(), labels: BTreeMap::new(), probe: false }],
            max_tags: 10,
            hidden_labels: Vec::new(),
            deprecated_labels: BTreeMap::new(),
            token_lifetime: None,
            telemetry: Vec::new(),
        }
    }
}

impl ControllerConfig {
    /// Usual settings for one namespace, endpoint and router.
    #[must_use]
    pub fn new(namespace: &str, endpoint: &str, router: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            endpoint: endpoint.to_owned(),
            internal_prefix: DEFAULT_INTERNAL_PREFIX.to_owned(),
            presence_grace: Duration::from_secs(8),
            hook_limit: Duration::from_mins(30),
            preemption_grace: Duration::from_mins(1),
            queue: QueueConfig::default(),
            quarantine: QuarantineConfig::default(),
            turnaround: Duration::ZERO,
            lease_retention: Duration::from_hours(7 * 24),
            direct_paths: true,
            limits: Limits::default(),
            live: Live::new(Changeable::new(router)),
            clock: Clock::system(),
        }
    }
}
