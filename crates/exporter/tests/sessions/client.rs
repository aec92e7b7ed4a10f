//! A client: it dials, waits until it may work, perhaps ends the session, and leaves or dies.
use std::{io, sync::Mutex, time::Duration};

use hyper_util::rt::TokioIo;
use jumpstarter_protocol::v1::{
    EndSessionRequest, ExporterStatus, GetStatusRequest, exporter_service_client::ExporterServiceClient,
};
use jumpstarter_tunnel::Tunnel;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint, Uri};

use super::{host::Host, network::Network, service::Service};

/// Real clients look three times as often; looks are what these scenarios cost most.
const LOOK: Duration = Duration::from_secs(1);
/// Nobody waits longer for a hook.
const PATIENCE: Duration = Duration::from_mins(5);

/// How far a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The exporter let it in, and said that it may work.
    Ready,
    /// It learnt that a hook failed.
    Failed,
    /// The way ended, or nobody answered in time.
    Lost,
}

/// Visits the session of `lease`, works for so long, and asks for its end when it `ends` it.
pub(crate) async fn visit(
    host: Host,
    service: Service,
    network: Network,
    lease: String,
    work: Duration,
    ends: bool,
) -> Seen {
    let until = Instant::now() + PATIENCE;
    let ticket = loop {
        match service.dial(&lease).await {
            Some(ticket) => break ticket,
            None if Instant::now() > until => return Seen::Lost,
            None => sleep(LOOK).await,
        }
    };
    let Ok(router) = network.channel().await else { return Seen::Lost };
    let Ok(tunnel) = jumpstarter_tunnel::open(router, &ticket) else { return Seen::Lost };
    let Ok(channel) = inside(tunnel).await else { return Seen::Lost };
    let mut exporter = ExporterServiceClient::new(channel);
    let mut seen = Seen::Lost;
    while Instant::now() < until {
        let Ok(answer) = exporter.get_status(GetStatusRequest {}).await else { return seen };
        match answer.get_ref().status() {
            ExporterStatus::LeaseReady => {
                seen = Seen::Ready;
                break;
            }
            ExporterStatus::BeforeLeaseHookFailed => return Seen::Failed,
            _ => sleep(LOOK).await,
        }
    }
    if seen == Seen::Ready {
        host.seen_ready();
        sleep(work).await;
        if ends && exporter.end_session(EndSessionRequest {}).await.is_ok() {
            // It stays until it has seen the end, as clients do.
            while let Ok(answer) = exporter.get_status(GetStatusRequest {}).await
                && !matches!(
                    answer.get_ref().status(),
                    ExporterStatus::Available | ExporterStatus::AfterLeaseHookFailed
                )
                && Instant::now() < until
            {
                sleep(LOOK).await;
            }
        }
    }
    seen
}

async fn inside(tunnel: Tunnel) -> Result<Channel, tonic::transport::Error> {
    let once = Mutex::new(Some(tunnel));
    let connect = tower::service_fn(move |_: Uri| {
        let tunnel = once.lock().unwrap().take().map(TokioIo::new);
        futures::future::ready(tunnel.ok_or_else(|| io::Error::other("the tunnel has ended")))
    });
    Endpoint::from_static("http://exporter.example").connect_with_connector(connect).await
}
