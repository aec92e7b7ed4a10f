//! One connection of a standby.

use std::{io, time::Duration};

use rustix::net::sockopt;
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::debug;

use super::{
    Target,
    metrics::{Counted, ForwardMetrics},
};

/// How long one attempt to reach the leader may take. Short: it is in the same cluster or it is gone.
const CONNECT: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// Silence after which the kernel asks whether the other end is still there, and between its questions.
const PROBE: Duration = Duration::from_secs(20);

/// What a connection needs on its way.
pub(super) struct Relay {
    pub(super) target: watch::Receiver<Target>,
    pub(super) metrics: ForwardMetrics,
    pub(super) hold: Duration,
}

impl Relay {
    /// Waits for a leader, connects, and passes bytes on until both directions have ended or the leader is another one.
    pub(super) async fn run(mut self, mut peer: TcpStream) {
        let _ = prepare(&peer);
        let held = Counted::new(&self.metrics.held);
        let reached = timeout_at(Instant::now() + self.hold, self.reach()).await;
        drop(held);
        let Ok(Some((address, mut leader))) = reached else {
            self.metrics.given_up.inc();
            return;
        };
        self.metrics.forwarded.inc();
        let _open = Counted::new(&self.metrics.open);
        // Both directions end on their own: a half-close is passed on. Another leader ends the connection: cutting is
        // the purpose, so nothing is lost by dropping the copy.
        tokio::select! {
            copied = copy_bidirectional(&mut peer, &mut leader) => match copied {
                Ok((there, back)) => {
                    self.metrics.bytes.inc_by(there + back);
                }
                Err(error) => debug!(%error, %address, "a forwarded connection ended"),
            },
            _ = self.target.wait_for(|target| target.as_ref() != Some(&address)) => {
                debug!(%address, "cutting a connection to a replica that leads no longer");
            }
        }
    }

    /// Tries the leader of the moment, again and again. `None` when there will be none any more.
    async fn reach(&mut self) -> Option<(String, TcpStream)> {
        loop {
            let address = self.target.wait_for(Option::is_some).await.ok()?.clone()?;
            // An attempt is worth nothing once the leader is another one.
            tokio::select! {
                attempt = timeout(CONNECT, TcpStream::connect(&address)) => match attempt {
                    Ok(Ok(stream)) => {
                        let _ = prepare(&stream);
                        return Some((address, stream));
                    }
                    Ok(Err(error)) => debug!(%error, %address, "the leader cannot be reached"),
                    Err(_) => debug!(%address, "the leader does not answer"),
                },
                _ = self.target.wait_for(|target| target.as_ref() != Some(&address)) => continue,
            }
            sleep(AGAIN).await;
        }
    }
}

/// Small frames must not wait, and dead ends must be noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE)?;
    sockopt::set_tcp_keepintvl(stream, PROBE / 4)?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}
