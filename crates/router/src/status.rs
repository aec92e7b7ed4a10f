//! What the controller is told of this router: whether it takes streams, and how much it has to do.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post_service;
use futures::stream::{self, Stream};
use jumpstarter_protocol::router::v1::router_status::State;
use jumpstarter_protocol::router::v1::router_status_service_server::{RouterStatusService, RouterStatusServiceServer};
use jumpstarter_protocol::router::v1::{RouterStatus, WatchRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use crate::Refusal;
use crate::router::Core;
use crate::service::bearer;

/// The path of the one method.
const WATCH: &str = "/jumpstarter.router.v1.RouterStatusService/Watch";
/// Time between two reports while nothing happens: often enough for a fair choice among routers, and a silence of three
/// is a sign of trouble.
const INTERVAL: Duration = Duration::from_secs(2);
/// Watches at one time. A service has one controller that watches, for a moment two.
const MAX_WATCHES: usize = 32;

pub(crate) fn routes(core: Arc<Core>) -> axum::Router {
    let service = StatusCalls { core, watches: Arc::new(Semaphore::new(MAX_WATCHES)) };
    axum::Router::new().route(WATCH, post_service(RouterStatusServiceServer::new(service)))
}

struct StatusCalls {
    core: Arc<Core>,
    watches: Arc<Semaphore>,
}

#[tonic::async_trait]
impl RouterStatusService for StatusCalls {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<RouterStatus, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let headers = request.metadata().as_ref();
        bearer(headers).and_then(|token| self.core.tickets.check_status(token)).map_err(|refusal: Refusal| {
            tracing::debug!(reason = refusal.reason(), "watch refused");
            refusal.status()
        })?;
        let permit = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("this router is watched by many already: try again later"))?;
        let watch = Watch { core: Arc::clone(&self.core), draining: self.core.draining.subscribe(), _permit: permit };
        Ok(Response::new(Box::pin(stream::unfold(Next::First(watch), Next::report))))
    }
}

/// One watch under way.
struct Watch {
    core: Arc<Core>,
    draining: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

/// What a watch does next.
enum Next {
    First(Watch),
    Later(Watch),
    End,
}

impl Next {
    async fn report(self) -> Option<(Result<RouterStatus, Status>, Self)> {
        let mut watch = match self {
            Self::First(watch) => watch,
            Self::Later(mut watch) => {
                // Both are cancel safe; whichever comes first, everything is read anew.
                tokio::select! {
                    _ = watch.draining.changed() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                watch
            }
            Self::End => return None,
        };
        // Marked as seen before the state is read, so that no change is missed.
        let draining = *watch.draining.borrow_and_update();
        let status = watch.core.report(draining);
        Some((Ok(status), if draining { Self::End } else { Self::Later(watch) }))
    }
}

impl Core {
    fn report(&self, draining: bool) -> RouterStatus {
        let stats = self.metrics.stats();
        let state = if draining { State::Draining } else { State::Serving };
        RouterStatus {
            state: state.into(),
            instance_id: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            open_streams: stats.open,
            waiting_streams: stats.waiting,
            max_streams: self.config.max_streams as u64,
            max_waiting_streams: self.config.max_waiting as u64,
            total_bytes: stats.bytes_from_clients + stats.bytes_from_exporters + stats.bytes_from_unknown,
        }
    }
}
