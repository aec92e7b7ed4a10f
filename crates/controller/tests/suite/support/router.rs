//! A router as the controller sees it: a state that can be told over TLS, and nothing else.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use futures::{Stream, StreamExt as _};
use jumpstarter_auth::TicketVerifier;
use jumpstarter_protocol::router::v1::{
    RouterStatus, WatchRequest,
    router_status::State,
    router_status_service_server::{RouterStatusService, RouterStatusServiceServer},
};
use jumpstarter_transport::{BindOptions, ServeCounters, ServeLimits, Server, ServingTls, listen};
use tokio::{sync::watch, task::JoinSet};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

use super::{Lab, eventually, soon};

/// What it answers to a watch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its state.
    Ours,
    /// Nothing: it has no such service.
    Foreign,
}

/// A router that can be changed, stopped, and started again at the same address.
pub(crate) struct FakeRouter {
    pub(crate) address: String,
    status: watch::Sender<RouterStatus>,
    running: Option<(CancellationToken, JoinSet<()>)>,
    routes: Router,
}

impl FakeRouter {
    /// One that serves and has nothing to do, in the lab of these tickets.
    pub(crate) async fn start(lab: &Lab, kind: Kind) -> Self {
        let status = watch::Sender::new(RouterStatus {
            state: State::Serving.into(),
            max_streams: 1000,
            max_waiting_streams: 500,
            ..RouterStatus::default()
        });
        let service = Told { status: status.clone(), tickets: lab.tickets.clone() };
        let routes = match kind {
            Kind::Ours => Routes::new(RouterStatusServiceServer::new(service)),
            Kind::Foreign => Routes::default(),
        };
        let mut router =
            Self { address: "127.0.0.1:0".to_owned(), status, running: None, routes: routes.into_axum_router() };
        router.up().await;
        router
    }

    /// Starts it where it was.
    pub(crate) async fn up(&mut self) {
        let address = self.address.clone();
        let bound = async || listen::bind_tcp(&address, &BindOptions::default()).await.ok();
        let listeners = eventually("bind the port", bound).await;
        self.address = listeners[0].tcp_addr().unwrap().to_string();
        let server = Server {
            listeners,
            tls: Some(Arc::new(ServingTls::self_signed(&["127.0.0.1".to_owned()]).unwrap())),
            limits: ServeLimits { drain_grace: Duration::ZERO, ..ServeLimits::default() },
            counters: Arc::<ServeCounters>::default(),
        };
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        let (routes, stopped) = (self.routes.clone(), stop.clone());
        task.spawn(async move { server.serve(routes, stopped).await.unwrap() });
        self.running = Some((stop, task));
    }

    /// Cuts every connection and closes the port.
    pub(crate) async fn down(&mut self) {
        let (stop, mut task) = self.running.take().unwrap();
        stop.cancel();
        soon("the router stops", task.join_next()).await;
    }

    /// Changes what it tells, at once.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut RouterStatus)) {
        self.status.send_modify(change);
    }

    /// How many watch it.
    pub(crate) fn watches(&self) -> usize {
        self.status.receiver_count()
    }
}

struct Told {
    status: watch::Sender<RouterStatus>,
    tickets: TicketVerifier,
}

#[tonic::async_trait]
impl RouterStatusService for Told {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<RouterStatus, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or_default();
        self.tickets
            .verify_status_token(token, super::lab::now())
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        Ok(Response::new(Box::pin(WatchStream::new(self.status.subscribe()).map(Ok))))
    }
}
