//! A Unix socket on this machine that leads to the exporter, for `j`, pytest and other programs.
use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::{net::UnixListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{Client, ClientError};

/// Local connections at a time; each is a tunnel of its own.
const MAX_CONNECTIONS: usize = 256;

/// The socket; it goes away with this value.
pub struct LocalHost {
    path: PathBuf,
    listener: UnixListener,
    failure: watch::Sender<Option<String>>,
    _dir: tempfile::TempDir,
}

impl LocalHost {
    /// Binds a socket in a directory of its own (mode 0700) below `runtime_dir`, usually `$XDG_RUNTIME_DIR`, else `/tmp`.
    pub fn bind(runtime_dir: &Path) -> Result<Self, ClientError> {
        let bind = || -> io::Result<Self> {
            let dir = tempfile::Builder::new()
                .prefix("jumpstarter-")
                .permissions(std::fs::Permissions::from_mode(0o700))
                .tempdir_in(runtime_dir)?;
            let path = dir.path().join("socket");
            let listener = UnixListener::bind(&path)?;
            Ok(Self { path, listener, failure: watch::Sender::new(None), _dir: dir })
        };
        bind().map_err(ClientError::Local)
    }

    /// The value for `JUMPSTARTER_HOST`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last reason why a local connection found no exporter.
    pub fn failures(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Leads every local connection to the exporter of `lease`, each by a Dial of its own, until `stop` fires.
    ///
    /// # Cancel safety
    /// Dropping the future cuts all connections.
    pub async fn serve(&self, client: &Client, lease: &str, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // `join_next` is cancel safe by its docs; `accept` keeps no state.
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((local, _)) => {
                        let (client, lease, failure) = (client.clone(), lease.to_owned(), self.failure.clone());
                        connections.spawn(async move {
                            match client.line(&lease).await {
                                Ok(line) => {
                                    if let Err(err) = line.join(local).await {
                                        tracing::debug!(%err, "a local connection was cut");
                                    }
                                }
                                // Dropping `local` tells the program at once.
                                Err(err) => {
                                    tracing::warn!(%lease, %err, "no way to the exporter for a local connection");
                                    failure.send_replace(Some(err.to_string()));
                                }
                            }
                        });
                    }
                    Err(err) => {
                        tracing::warn!(%err, "accept a local connection");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }
}
