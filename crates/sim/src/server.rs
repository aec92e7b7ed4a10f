//! Processes of the service: started, stopped in good order, or killed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jumpstarter_auth::{TicketIssuer, TokenIssuer};
use jumpstarter_controller::{Controller, ControllerConfig, ControllerParts, LocalRouter, RouterReport};
use jumpstarter_store::{NoEvents, Store};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Offset, Time},
    lab::service_clock,
    network::Network,
    store::SimStore,
};

/// The one namespace.
pub(crate) const NAMESPACE: &str = "lab";

/// The address of the router.
pub(crate) const ROUTER: &str = "router.example:8083";

/// What the router says of itself.
fn idle() -> RouterReport {
    RouterReport { max_streams: u64::MAX, max_waiting: u64::MAX, ..RouterReport::default() }
}

/// What every process of the service is made from.
pub(crate) struct Factory {
    pub(crate) config: ControllerConfig,
    pub(crate) store: SimStore,
    pub(crate) network: Network,
    pub(crate) issuer: Arc<TokenIssuer>,
    pub(crate) tickets: Arc<TicketIssuer>,
    pub(crate) time: Time,
    pub(crate) started: AtomicU64,
    /// Whether its clock runs too fast.
    pub(crate) hurried: bool,
}

/// One process.
pub(crate) struct Server {
    pub(crate) number: u64,
    controller: Controller,
    registry: Registry,
    stop: CancellationToken,
    /// Fires when it is killed.
    pub(crate) dead: CancellationToken,
    network: Network,
}

impl Factory {
    /// Starts a process on a clock with this offset; fails when the store does.
    pub(crate) async fn start(&self, offset: &Offset) -> Option<Server> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut config = self.config.clone();
        config.clock = service_clock(self.time, offset, self.hurried);
        let parts = ControllerParts {
            config,
            store: Arc::new(self.store.clone()) as Arc<dyn Store>,
            issuer: Arc::clone(&self.issuer),
            tickets: Arc::clone(&self.tickets),
            local_router: Some(LocalRouter { endpoint: ROUTER.to_owned(), look: Arc::new(idle) }),
            events: Arc::new(NoEvents),
        };
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        let controller = Controller::start(parts, &mut registry, stop.clone()).await.ok()?;
        let dead = CancellationToken::new();
        self.network.open(number, controller.routes(), dead.clone());
        Some(Server { number, controller, registry, stop, dead, network: self.network.clone() })
    }
}

impl Server {
    /// Kills it wherever it is.
    pub(crate) fn kill(self) {
        self.network.close(self.number);
        self.dead.cancel();
        drop(self.controller);
    }

    /// Stops it in good order.
    pub(crate) async fn stop(self) {
        self.network.close(self.number);
        self.stop.cancel();
        self.controller.shutdown().await;
        self.dead.cancel();
    }

    /// A gauge of its metrics.
    pub(crate) fn gauge(&self, name: &str) -> Option<i64> {
        let mut text = String::new();
        encode(&mut text, &self.registry).ok()?;
        let line = text.lines().find(|line| !line.starts_with('#') && line.contains(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}
