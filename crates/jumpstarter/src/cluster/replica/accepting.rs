//! The forwarder's hold on the port.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{cluster::port::Port, forward::Forwarder};

/// Connections are accepted by the forwarder until this is stopped or dropped.
pub(super) struct Accepting {
    task: JoinSet<()>,
    stop: CancellationToken,
}

impl Accepting {
    pub(super) fn start(forwarder: &Forwarder, port: &Port) -> std::io::Result<Self> {
        let listeners = port.listeners()?;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let (forwarder, stopped) = (forwarder.clone(), stop.clone());
        task.spawn(async move { forwarder.accept(listeners, stopped).await });
        Ok(Self { task, stop })
    }

    /// Accepts no more; connections go on.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}
