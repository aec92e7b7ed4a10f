//! A server that runs between two calls.
use std::{io, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::DriverError;

/// Time that open transfers get to end when their server is stopped.
const GRACE: Duration = Duration::from_secs(3);

/// A running server. Dropping it ends it at once.
pub(super) struct Service {
    /// The port that it got.
    pub(super) port: u16,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Service {
    /// Runs what `serve` makes until it sees its token cancelled.
    pub(super) fn start<F>(port: u16, serve: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(stop.clone()));
        Self { port, stop, task }
    }

    /// Lets open transfers end for a moment, then cuts them.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.task.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            self.task.shutdown().await;
        }
    }
}

/// A port that cannot be had.
pub(super) fn bind_error(what: &str, host: &str, port: u16, source: io::Error) -> DriverError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => " (another program listens there, or another driver of this exporter)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this host has the address: check 'host')",
        _ => "",
    };
    DriverError::Io { message: format!("listen for {what} on {host}:{port}: {source}{hint}"), source }
}
