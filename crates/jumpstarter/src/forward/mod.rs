//! A standby's port: connections are passed on to the leader as they are, TLS included.
//!
//! While there is no leader, connections are held; as soon as one is known they go there, also when it is this replica.
//! A connection ends when its leader leads no longer, so that its peer comes back and reaches the next one.

mod metrics;
mod relay;

use std::{sync::Arc, time::Duration};

use jumpstarter_transport::Listener;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

pub(crate) use metrics::ForwardMetrics;

/// Connections at one time, held ones included; as many as a leader accepts. Further ones are closed at once.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// How long a connection waits for a leader: as long as old clients give a new connection.
pub(crate) const HOLD: Duration = Duration::from_secs(20);
/// Pause after `accept` failed, usually because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where connections go: `host:port`, or nowhere yet.
pub(crate) type Target = Option<String>;

/// Passes connections on. Cheap to clone; clones share limits and connections.
#[derive(Clone)]
pub(crate) struct Forwarder {
    target: Arc<watch::Sender<Target>>,
    metrics: ForwardMetrics,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
    abort: CancellationToken,
    hold: Duration,
}

impl Forwarder {
    /// A forwarder that knows no leader yet.
    pub(crate) fn new(metrics: ForwardMetrics) -> Self {
        Self {
            target: Arc::new(watch::Sender::new(None)),
            metrics,
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            connections: TaskTracker::new(),
            abort: CancellationToken::new(),
            hold: HOLD,
        }
    }

    /// Says where connections go from now on. Those that wait go there; those that go elsewhere end.
    pub(crate) fn aim(&self, target: Target) {
        self.target.send_if_modified(|known| {
            let news = *known != target;
            *known = target;
            news
        });
    }

    /// Accepts until `stop` fires; connections go on beyond that.
    pub(crate) async fn accept(&self, listeners: Vec<Listener>, stop: CancellationToken) {
        let accepting = listeners.into_iter().map(|listener| self.accept_from(listener, &stop));
        futures::future::join_all(accepting).await;
    }

    /// Ends every connection, and waits for that.
    pub(crate) async fn shut_down(&self) {
        self.abort.cancel();
        self.connections.close();
        self.connections.wait().await;
    }

    async fn accept_from(&self, listener: Listener, stop: &CancellationToken) {
        let Listener::Tcp(listener) = listener else { return };
        loop {
            // `accept` and `cancelled` are cancel safe by their docs.
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.take(stream),
                Err(error) if is_of_one_peer(&error) => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections, trying again");
                    // `sleep` and `cancelled` keep nothing.
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }

    fn take(&self, stream: TcpStream) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.metrics.refused.inc();
            return;
        };
        let relay = relay::Relay { target: self.target.subscribe(), metrics: self.metrics.clone(), hold: self.hold };
        let abort = self.abort.clone();
        self.connections.spawn(async move {
            // Cutting is what `abort` is for.
            abort.run_until_cancelled(relay.run(stream)).await;
            drop(slot);
        });
    }
}

/// Errors of `accept` that concern a peer which is already gone.
fn is_of_one_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
