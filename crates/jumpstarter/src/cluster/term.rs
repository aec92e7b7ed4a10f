//! One term of leadership: the controller, and the server in front of it.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jumpstarter_auth::{KeyRing, TicketIssuer, TokenIssuer};
use jumpstarter_controller::{Controller, ControllerConfig, ControllerParts, keys};
use jumpstarter_model::Timestamp;
use jumpstarter_store::{EventRecorder, Store};
use jumpstarter_transport::{Listener, ServeCounters, ServeLimits, Server, ServingTls};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::service::{spawn, with_peer};

/// How long calls in flight may take when the term ends. Streams end at once, and what remains is short.
const LAST_CALLS: Duration = Duration::from_millis(300);

/// What every term is made of.
pub(crate) struct Ground {
    pub(crate) config: ControllerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) events: Arc<dyn EventRecorder>,
    pub(crate) tickets: Arc<TicketIssuer>,
    pub(crate) tls: Arc<ServingTls>,
    pub(crate) limits: ServeLimits,
    pub(crate) counters: Arc<ServeCounters>,
}

/// A term under way.
pub(crate) struct Term {
    controller: Controller,
    servers: JoinSet<()>,
    stop_calls: CancellationToken,
    stop_servers: CancellationToken,
}

impl Term {
    /// Loads the lab and starts the controller; nothing is served yet.
    ///
    /// # Cancel safety
    /// Cancel safe: what was started stops, and a key that was made stays in its Secret.
    pub(crate) async fn begin(ground: &Ground, registry: &mut Registry) -> anyhow::Result<Self> {
        let issuer = issuer(ground).await.context("read the keys that sign tokens")?;
        let stop_calls = CancellationToken::new();
        let parts = ControllerParts {
            config: ground.config.clone(),
            store: Arc::clone(&ground.store),
            issuer,
            tickets: Arc::clone(&ground.tickets),
            local_router: None,
            events: Arc::clone(&ground.events),
        };
        let controller =
            Controller::start(parts, registry, stop_calls.clone()).await.context("start the controller")?;
        Ok(Self { controller, servers: JoinSet::new(), stop_calls, stop_servers: CancellationToken::new() })
    }

    /// Serves the controller.
    pub(crate) fn serve(&mut self, ground: &Ground, listeners: Vec<Listener>) {
        // Nobody has looked after the certificate while this replica stood by.
        ground.tls.refresh(Timestamp::now());
        let server = Server {
            listeners,
            tls: Some(Arc::clone(&ground.tls)),
            limits: ServeLimits { drain_grace: LAST_CALLS, ..ground.limits.clone() },
            counters: Arc::clone(&ground.counters),
        };
        let service = with_peer(self.controller.routes().into_axum_router());
        spawn(&mut self.servers, server, service, self.stop_servers.clone());
    }

    /// Waits until the server ends by itself, which it should not.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn failed(&mut self) {
        let _ = self.servers.join_next().await;
    }

    /// Ends all streams and calls. No connection is accepted any more; nothing is waited for.
    pub(crate) fn interrupt(&self) {
        self.controller.refuse_dials();
        self.stop_calls.cancel();
        self.stop_servers.cancel();
    }

    /// Waits for the last calls and the last writes, at most about two seconds, whatever the API server does.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping aborts what is left.
    pub(crate) async fn end(mut self) {
        self.interrupt();
        while self.servers.join_next().await.is_some() {}
        self.controller.shutdown().await;
    }
}

/// Signs and checks tokens with the keys of the Secret, which is made if there is none.
async fn issuer(ground: &Ground) -> anyhow::Result<Arc<TokenIssuer>> {
    let make = || KeyRing::generate(Timestamp::now());
    let ring = keys::load_or_create(&*ground.store, &ground.config.namespace, make).await?;
    Ok(Arc::new(TokenIssuer::with_ring(ring)))
}
