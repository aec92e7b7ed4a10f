//! The lease's dials: each becomes a tunnel to the session.
use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jumpstarter_protocol::v1::ListenResponse;
use jumpstarter_transport::direct::DirectStream;
use jumpstarter_tunnel::Connector;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::host::News;
use crate::{
    ControllerLink, Door, Session,
    backoff::Backoff,
    direct::{Invitation, Invited, OpenDoor},
};

/// Tunnels of one lease at a time; further dials wait in the controller.
const MAX_TUNNELS: usize = 256;
/// A Listen stream that lived this long was fine, even if nobody dialled.
const HEALTHY: Duration = Duration::from_secs(30);
/// How long a client that may come directly is waited for before its router is looked for, too: most of those who come
/// at all are there by then, and those who cannot have lost no more than this.
const HEAD_START: Duration = Duration::from_millis(250);

/// A client that wants in.
pub(super) struct Dial {
    answer: ListenResponse,
    /// It may come directly.
    invitation: Option<Invitation>,
    /// Its place among the tunnels.
    _permit: OwnedSemaphorePermit,
}

/// Passes on the dials of `lease` until `stop`; lost connections are opened again for as long as it takes. `door`, with
/// the controller's address, is open meanwhile.
pub(super) async fn listen(
    link: ControllerLink,
    lease: String,
    door: Option<(Door, String)>,
    news: mpsc::Sender<News>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_TUNNELS));
    let mut backoff = Backoff::default();
    let open = door.as_ref().map(|(door, _)| door.open());
    loop {
        let opened = tokio::time::Instant::now();
        let attempt = async {
            let direct = match &door {
                Some((door, controller)) => door.announcement(controller).await,
                None => None,
            };
            let dials = link.listen(&lease, direct).await;
            accept(dials, open.as_ref(), &news, &places, &mut backoff).await
        };
        let error = tokio::select! {
            // Dropping the Listen stream is how a listener leaves.
            () = stop.cancelled() => return,
            error = attempt => error,
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
    dials: Result<Streaming<ListenResponse>, Status>,
    door: Option<&OpenDoor>,
    news: &mpsc::Sender<News>,
    places: &Arc<Semaphore>,
    backoff: &mut Backoff,
) -> String {
    let mut dials = match dials {
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
                let invitation = match (door, &answer.direct) {
                    (Some(door), Some(direct)) => match door.invite(direct) {
                        Invited::Yes(invitation) => Some(invitation),
                        Invited::No => None,
                        // Handed out again after a broken connection; its client has come, or is waited for.
                        Invited::Already => continue,
                    },
                    _ => None,
                };
                if news.send(News::Dial(Dial { answer, invitation, _permit: permit })).await.is_err() {
                    return "the exporter stops".to_owned();
                }
            }
            Some(Err(status)) => return format!("{}: {}", status.code(), status.message()),
            None => return "the controller ended it".to_owned(),
        }
    }
}

/// Joins one dial's client to the session, whichever way it comes.
pub(super) async fn tunnel(connector: Connector, session: Session, dial: Dial) {
    let _presence = session.enter();
    let Dial { answer, mut invitation, _permit } = dial;
    if let Some(expected) = &mut invitation
        && let Ok(arrived) = timeout(HEAD_START, expected.arrived()).await
    {
        match arrived {
            Some(stream) => return direct(&session, stream).await,
            None => invitation = None,
        }
    }
    let Some(mut expected) = invitation else { return routed(&connector, &session, &answer).await };
    let arrived = {
        let mut routed = pin!(routed(&connector, &session, &answer));
        tokio::select! {
            // A client comes one way only, and the router's half of the other is given up.
            biased;
            Some(stream) = expected.arrived() => Some(stream),
            () = &mut routed => None,
        }
    };
    if let Some(stream) = arrived {
        direct(&session, stream).await;
    }
}

async fn direct(session: &Session, stream: DirectStream) {
    tracing::debug!("direct connection opened");
    session.serve(stream).await;
    tracing::info!("direct connection ended");
}

async fn routed(connector: &Connector, session: &Session, answer: &ListenResponse) {
    let ListenResponse { router_endpoint, router_token, direct: _ } = answer;
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
