//! Local ports that lead to a driver.
use std::time::Duration;

use jumpstarter_tunnel::join;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

use crate::Session;

/// Local connections at a time; each is a stream of its own.
const MAX_CONNECTIONS: usize = 256;
/// Pause after a failed accept: it fails again at once when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

impl Session {
    /// Leads every connection to `listener` to the byte stream `method` of a driver; most are called `connect`. Never
    /// returns.
    ///
    /// # Cancel safety
    /// Dropping the future cuts all connections.
    pub async fn forward_tcp(&self, listener: &TcpListener, driver: &str, method: &str) {
        self.forward(driver, method, async || {
            let (local, _) = listener.accept().await?;
            local.set_nodelay(true)?;
            Ok(local)
        })
        .await;
    }

    /// As [`Session::forward_tcp`], for a Unix socket.
    ///
    /// # Cancel safety
    /// Dropping the future cuts all connections.
    pub async fn forward_unix(&self, listener: &UnixListener, driver: &str, method: &str) {
        self.forward(driver, method, async || Ok(listener.accept().await?.0)).await;
    }

    async fn forward<IO>(&self, driver: &str, method: &str, accept: impl AsyncFn() -> std::io::Result<IO>)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // `join_next` is cancel safe by its docs; accepting keeps no state.
                Some(_) = connections.join_next() => {}
                accepted = accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok(local) => {
                        let (session, driver, method) = (self.clone(), driver.to_owned(), method.to_owned());
                        connections.spawn(async move {
                            match session.open(&driver, &method).await {
                                Ok(stream) => {
                                    if let Err(err) = join(local, stream).await {
                                        tracing::debug!(%err, "a forwarded connection was cut");
                                    }
                                }
                                // Dropping `local` tells the program at once.
                                Err(err) => tracing::warn!(%err, "forward a connection"),
                            }
                        });
                    }
                    Err(err) => {
                        tracing::warn!(%err, "accept a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}
