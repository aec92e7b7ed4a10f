//! The lease's dials: each becomes a tunnel to the session.
use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use jumpstarter_protocol::v1::ListenResponse;
use jumpstarter_tunnel::Connector;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::host::News;
use crate::{ControllerLink, Session, backoff::Backoff};

/// Tunnels of one lease at a time; further dials wait in the controller.
const MAX_TUNNELS: usize = 256;
/// A Listen stream that lived this long was fine, even if nobody dialled.
const HEALTHY: Duration = Duration::from_secs(30);

/// A client that wants in.
pub(super) struct Dial {
    pub(super) answer: ListenResponse,
    /// Its place among the tunnels.
    _permit: OwnedSemaphorePermit,
}

/// Passes on the dials of `lease` until `stop`; lost connections are opened again for as long as it takes.
pub(super) async fn listen(link: ControllerLink, lease: String, news: mpsc::Sender<News>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_TUNNELS));
    let mut backoff = Backoff::default();
    loop {
        let opened = tokio::time::Instant::now();
        let error = tokio::select! {
            // Dropping the Listen stream is how a listener leaves.
            () = stop.cancelled() => return,
            error = accept(&link, &lease, &news, &places, &mut backoff) => error,
        };
        if opened.elapsed() > HEALTHY {
            backoff.reset();
        }
        let pause = backoff.next();
        tracing::warn!(%error, ?pause, "the Listen stream ended; opening it again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Passes on dials until the stream ends; returns why it did.
async fn accept(
    link: &ControllerLink,
    lease: &str,
    news: &mpsc::Sender<News>,
    places: &Arc<Semaphore>,
    backoff: &mut Backoff,
) -> String {
    let mut dials = match link.listen(lease).await {
        Ok(dials) => dials,
        Err(status) => return format!("{}: {}", status.code(), status.message()),
    };
    loop {
        let Ok(permit) = Arc::clone(places).acquire_owned().await else {
            return "the exporter stops".to_owned();
        };
        match dials.next().await {
            Some(Ok(answer)) => {
                backoff.reset();
                if news.send(News::Dial(Dial { answer, _permit: permit })).await.is_err() {
                    return "the exporter stops".to_owned();
                }
            }
            Some(Err(status)) => return format!("{}: {}", status.code(), status.message()),
            None => return "the controller ended it".to_owned(),
        }
    }
}

/// Joins one dial's tunnel to the session.
pub(super) async fn tunnel(connector: Connector, session: Session, dial: Dial) {
    let _presence = session.enter();
    let ListenResponse { router_endpoint, router_token } = &dial.answer;
    let channel = match connector.connect(router_endpoint).await {
        Ok(channel) => channel,
        Err(error) => {
            tracing::warn!(router = %router_endpoint, %error, "connect to the router");
            return;
        }
    };
    match jumpstarter_tunnel::open(channel, router_token) {
        Ok(tunnel) => {
            tracing::info!(router = %router_endpoint, "tunnel opened");
            session.serve(tunnel).await;
            tracing::info!(router = %router_endpoint, "tunnel ended");
        }
        Err(status) => tracing::warn!(router = %router_endpoint, %status, "open a tunnel"),
    }
}
