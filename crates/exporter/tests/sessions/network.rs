//! Connections in memory that can be cut, or fall silent.
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use jumpstarter_exporter::Connector;
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tonic::transport::{Channel, Endpoint, Uri};

/// Bytes on their way in one direction.
const BUFFER: usize = 64 * 1024;
/// What notices a silent connection, as the real channels have it.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// One party's way to the service.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    /// New connections are taken.
    up: watch::Sender<bool>,
    /// Changing it ends every connection.
    cut: watch::Sender<u64>,
    /// Changing it stops what flows in every connection, for ever.
    silence: watch::Sender<u64>,
    service: mpsc::Sender<io::Result<DuplexStream>>,
    wires: Mutex<JoinSet<()>>,
}

impl Network {
    /// A network whose connections reach `service`.
    pub(crate) fn new(service: mpsc::Sender<io::Result<DuplexStream>>) -> Self {
        let (up, cut, silence) = (watch::Sender::new(true), watch::Sender::new(0), watch::Sender::new(0));
        Self(Arc::new(Inner { up, cut, silence, service, wires: Mutex::default() }))
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.0.cut.send_modify(|times| *times += 1);
    }

    /// Nothing gets through any more on the connections of now; nobody is told.
    pub(crate) fn fall_silent(&self) {
        self.0.silence.send_modify(|times| *times += 1);
    }

    /// Whether new connections can be made.
    pub(crate) fn set_up(&self, up: bool) {
        self.0.up.send_replace(up);
    }

    pub(crate) fn connector(&self) -> Connector {
        let network = self.clone();
        Connector::new(move |_endpoint| {
            let network = network.clone();
            async move { Ok(network.channel().await?) }
        })
    }

    /// A channel that connects again when it has to.
    pub(crate) async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let network = self.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let network = network.clone();
            async move { network.connect().await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://lab.example")
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector(connect)
            .await
    }

    async fn connect(&self) -> io::Result<DuplexStream> {
        if !*self.0.up.borrow() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the network is down"));
        }
        let (near, mut one) = duplex(BUFFER);
        let (mut other, far) = duplex(BUFFER);
        let (mut cut, mut silence) = (self.0.cut.subscribe(), self.0.silence.subscribe());
        self.0.wires.lock().unwrap().spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut one, &mut other) => return,
                _ = cut.changed() => return,
                _ = silence.changed() => {}
            }
            let _ = cut.changed().await;
        });
        let gone = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the service is gone");
        self.0.service.send(Ok(far)).await.map_err(gone)?;
        Ok(near)
    }
}
