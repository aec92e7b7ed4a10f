//! The handle of a router.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::Body;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::input::Input;
use crate::metrics::{Metrics, Outcome};
use crate::outbound::Outbound;
use crate::pairing::{Arrival, Limits, Pairing, Place, Placed};
use crate::tunnel::{Order, Seat, Tunnel};
use crate::{Config, Refusal, Stats, StreamId, StreamTicket, TicketCheck};
use crate::{service, status};

/// How long past its end a used ticket is remembered: more than any checker allows for clocks that differ.
const TICKET_LEEWAY: std::time::Duration = std::time::Duration::from_mins(5);

/// How long the last words of streams that were told to end may take.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// A router; clones are the same one.
#[derive(Clone)]
pub struct Router {
    core: Arc<Core>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("config", &self.core.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Router {
    /// A router that lets in whom `tickets` verifies.
    #[must_use]
    pub fn new(config: Config, tickets: Arc<dyn TicketCheck>) -> Self {
        let limits = Limits {
            waiting: config.max_waiting,
            waiting_per_connection: config.max_waiting_per_connection,
            used_tickets: config.max_used_tickets,
            wait: config.wait_limit,
        };
        Self {
            core: Arc::new(Core {
                config,
                tickets,
                metrics: Arc::new(Metrics::new()),
                pairing: Mutex::new(Pairing::new(limits)),
                tunnels: Mutex::default(),
                alive: TaskTracker::new(),
                draining: watch::Sender::new(false),
                instance: uuid::Uuid::new_v4().to_string(),
            }),
        }
    }

    /// `jumpstarter.v1.RouterService` for peers and `jumpstarter.router.v1.RouterStatusService` for the controller, to be
    /// merged with others on one port.
    ///
    /// Limits per connection go by the `PeerAddr` that `jumpstarter_transport`'s server gives every
    /// request; without it there are none.
    pub fn into_axum_router(self) -> axum::Router {
        status::routes(Arc::clone(&self.core)).merge(service::routes(self.core))
    }

    /// Adds the router's metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.core.metrics.register(registry);
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.metrics.stats()
    }

    /// Refuses new calls from now on and sends waiting halves away. Open streams go on.
    pub fn drain(&self) {
        let waiting = self.core.pairing().close();
        let order = Order::Refuse(Refusal::Draining.status());
        for tunnel in waiting {
            self.core.metrics.waiting.dec();
            tunnel.ends(Outcome::Drained);
            tunnel.order(&order);
        }
        self.core.alive.close();
        self.core.draining.send_replace(true);
    }

    /// Whether [`Router::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.core.pairing().is_closed()
    }

    /// Drains, gives open streams [`Config::drain_grace`] to finish, and ends the rest.
    ///
    /// # Cancel safety
    /// Cancel safe: the router stays drained, open streams go on.
    pub async fn shut_down(&self) {
        self.drain();
        if timeout(self.core.config.drain_grace, self.core.alive.wait()).await.is_ok() {
            return;
        }
        let open: Vec<_> = self.core.tunnels().values().filter_map(Weak::upgrade).collect();
        tracing::info!(streams = open.len(), "ending streams that outlasted the grace");
        for tunnel in open {
            tunnel.ends(Outcome::Drained);
            tunnel.order(&Order::End);
        }
        // A peer that does not read is left to its connection.
        drop(timeout(LAST_WORDS, self.core.alive.wait()).await);
    }
}

#[cfg(test)]
impl Router {
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

/// What every stream of a router shares.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) tickets: Arc<dyn TicketCheck>,
    pub(crate) metrics: Arc<Metrics>,
    pairing: Mutex<Pairing<Arc<Tunnel>>>,
    /// Joined tunnels, for [`Router::shut_down`]. Entries go with the response of the second half.
    tunnels: Mutex<HashMap<StreamId, Weak<Tunnel>>>,
    alive: TaskTracker,
    /// For those who watch.
    pub(crate) draining: watch::Sender<bool>,
    /// Unlike that of any other router that ever was.
    pub(crate) instance: String,
}

impl Core {
    fn pairing(&self) -> MutexGuard<'_, Pairing<Arc<Tunnel>>> {
        self.pairing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tunnels(&self) -> MutexGuard<'_, HashMap<StreamId, Weak<Tunnel>>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a verified half in. The result is its response.
    pub(crate) fn open(
        self: &Arc<Self>,
        ticket: StreamTicket,
        connection: Option<std::net::SocketAddr>,
        body: Body,
    ) -> Result<Outbound, Refusal> {
        let StreamTicket { stream_id: stream, side, one_use_id, expires_at } = ticket;
        let now = Instant::now().into_std();
        let left = std::time::Duration::try_from(expires_at.duration_since(Timestamp::now())).unwrap_or_default();
        // A ticket that outlives the router need not be remembered to the second.
        let ticket_ends = now + left.min(std::time::Duration::from_hours(24 * 365)) + TICKET_LEEWAY;
        let arrival = Arrival { stream: stream.clone(), side, one_use_id, ticket_ends, connection };
        let make = || {
            if self.alive.len() >= self.config.max_streams {
                return Err(Refusal::TooManyStreams);
            }
            Ok(Arc::new(Tunnel::new(stream.clone(), self.metrics.clone(), self.alive.token())))
        };
        let (placed, lapsed) = {
            let mut pairing = self.pairing();
            // Each half looks at its own clock; this finds those whose connection hangs.
            let lapsed = pairing.lapse(now);
            (pairing.arrive(arrival, now, make), lapsed)
        };
        for tunnel in lapsed {
            self.metrics.waiting.dec();
            tunnel.ends(Outcome::Lapsed);
            tunnel.order(&Order::End);
        }
        Ok(match placed? {
            Placed::Waiting(place, tunnel) => {
                self.metrics.waiting.inc();
                tracing::debug!(%stream, ?side, "stream waits for its second half");
                tunnel.sit(Seat::First, side, Input::new(body));
                Outbound::waiting(self.clone(), tunnel, place)
            }
            Placed::Joined(tunnel) => {
                self.metrics.waiting.dec();
                self.metrics.joined.inc();
                let seconds = tunnel.age().as_secs_f64();
                self.metrics.setup_seconds.observe(seconds);
                tracing::info!(%stream, seconds, "stream opened");
                self.tunnels().insert(stream, Arc::downgrade(&tunnel));
                tunnel.sit(Seat::Second, side, Input::new(body));
                Outbound::joined(self.clone(), tunnel)
            }
        })
    }

    /// Whether nothing is left of any stream.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.alive.is_empty() && self.pairing().waiting() == 0 && self.tunnels().is_empty()
    }

    /// Takes a half out of the waiting room, if it is still there.
    pub(crate) fn leave(&self, stream: &StreamId, place: Place) -> Option<Arc<Tunnel>> {
        let left = self.pairing().leave(stream, place);
        if left.is_some() {
            self.metrics.waiting.dec();
        }
        left
    }

    /// Forgets a joined tunnel.
    pub(crate) fn forget(&self, tunnel: &Arc<Tunnel>) {
        let mut tunnels = self.tunnels();
        if tunnels.get(&tunnel.stream).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(tunnel))) {
            tunnels.remove(&tunnel.stream);
        }
    }
}
