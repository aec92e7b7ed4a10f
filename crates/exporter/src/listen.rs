//! The lease's dials: each becomes a tunnel to the session.
use std::time::Duration;

use futures::StreamExt as _;
use jumpstarter_protocol::v1::ListenResponse;
use jumpstarter_tunnel::Connector;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{ControllerLink, Session, backoff::Backoff};

/// Tunnels of one lease at a time; further dials wait in the controller.
const MAX_TUNNELS: usize = 256;
/// A Listen stream that lived this long was fine, even if nobody dialled.
const HEALTHY: Duration = Duration::from_secs(30);

/// Serves the dials of `lease` until `stop`; lost connections are opened again for as long as it takes.
///
/// # Cancel safety
/// Not cancel safe: dropping the future cuts the tunnels. Cancel `stop` and close the session instead.
pub(crate) async fn listen(
    link: ControllerLink,
    connector: Connector,
    session: Session,
    lease: String,
    stop: CancellationToken,
) {
    let mut tunnels = JoinSet::new();
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        let opened = tokio::time::Instant::now();
        let error = tokio::select! {
            // Dropping the Listen stream is how a listener leaves.
            () = stop.cancelled() => break,
            error = accept(&link, &connector, &session, &lease, &mut tunnels, &mut backoff) => error,
        };
        if opened.elapsed() > HEALTHY {
            backoff.reset();
        }
        let pause = backoff.next();
        tracing::warn!(%error, ?pause, "the Listen stream ended; opening it again");
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
        }
    }
    // The session's own closing ends each tunnel after its grace.
    while tunnels.join_next().await.is_some() {}
}

/// Turns dials into tunnels until the stream ends; returns why it did.
async fn accept(
    link: &ControllerLink,
    connector: &Connector,
    session: &Session,
    lease: &str,
    tunnels: &mut JoinSet<()>,
    backoff: &mut Backoff,
) -> String {
    let mut dials = match link.listen(lease).await {
        Ok(dials) => dials,
        Err(status) => return format!("{}: {}", status.code(), status.message()),
    };
    loop {
        tokio::select! {
            // `join_next` is cancel safe by its docs.
            Some(_) = tunnels.join_next() => {}
            // `next` only polls the stream; a message is never half taken.
            dial = dials.next(), if tunnels.len() < MAX_TUNNELS => match dial {
                Some(Ok(dial)) => {
                    backoff.reset();
                    let tunnel = tunnel(connector.clone(), session.clone(), dial);
                    tunnels.spawn(tunnel.instrument(tracing::info_span!("tunnel")));
                }
                Some(Err(status)) => return format!("{}: {}", status.code(), status.message()),
                None => return "the controller ended it".to_owned(),
            },
        }
    }
}

/// Joins one dial's tunnel to the session.
async fn tunnel(connector: Connector, session: Session, dial: ListenResponse) {
    let ListenResponse { router_endpoint, router_token } = dial;
    let channel = match connector.connect(&router_endpoint).await {
        Ok(channel) => channel,
        Err(error) => {
            tracing::warn!(router = %router_endpoint, %error, "connect to the router");
            return;
        }
    };
    match jumpstarter_tunnel::open(channel, &router_token) {
        Ok(tunnel) => {
            tracing::info!(router = %router_endpoint, "tunnel opened");
            session.serve(tunnel).await;
            tracing::info!(router = %router_endpoint, "tunnel ended");
        }
        Err(status) => tracing::warn!(router = %router_endpoint, %status, "open a tunnel"),
    }
}
