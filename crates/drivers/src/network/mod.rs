//! Byte streams to things on the network.
mod address;
mod dbus;
mod echo;
mod tcp;
mod udp;
mod unix;
mod vsock;
mod websocket;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{Built, DriverError, Registry};

pub(crate) use echo::Echo;
use tcp::TcpNetwork;
use unix::UnixNetwork;
use vsock::VsockNetwork;

/// The client class of all plain network drivers.
const CLIENT: &str = "jumpstarter_driver_network.client.NetworkClient";
/// A port that does not answer for this long is reported as a timeout; Linux alone would try for two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn register(all: &mut Registry) {
    let class = |name: &str| format!("jumpstarter_driver_network.driver.{name}");
    all.add(class("EchoNetwork"), |build| {
        build.config::<Map<String, Value>>(&[])?;
        Ok(Arc::new(echo::EchoNetwork))
    });
    all.add(class("TcpNetwork"), |build| Ok(Arc::new(TcpNetwork::new(build)?)));
    all.add(class("UdpNetwork"), |build| Ok(Arc::new(udp::UdpNetwork::new(build)?)));
    all.add(class("UnixNetwork"), |build| Ok(Arc::new(UnixNetwork::new(build)?)));
    all.add(class("VsockNetwork"), |build| Ok(Arc::new(VsockNetwork::new(build)?)));
    all.add(class("WebsocketNetwork"), |build| Ok(Arc::new(websocket::WebsocketNetwork::new(build)?)));
    all.add(class("DbusNetwork"), |build| Ok(Arc::new(dbus::DbusNetwork::new(build)?)));
}

/// A port as a child of another driver.
pub(crate) fn tcp(host: String, port: u16) -> Built {
    Built::new(TcpNetwork::to(host, port))
}

/// A socket as a child of another driver.
pub(crate) fn unix(path: PathBuf) -> Built {
    Built::new(UnixNetwork::at(path))
}

/// A guest's port as a child of another driver.
pub(crate) fn vsock(cid: u32, port: u32) -> Built {
    Built::new(VsockNetwork::to(cid, port))
}

pub(crate) async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, DriverError> {
    let target = format!("{host}:{port}");
    let connect = async {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    within(connect).await.map_err(|err| DriverError::connection(&target, err))
}

async fn connect_unix(path: &Path) -> Result<UnixStream, DriverError> {
    within(UnixStream::connect(path)).await.map_err(|err| DriverError::connection(&path.display().to_string(), err))
}

async fn within<T>(connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

/// Why a path cannot be a socket address at all; Linux takes 107 bytes.
fn socket_path(path: &str) -> Result<PathBuf, String> {
    match path.len() {
        0 => Err("a socket path must not be empty".to_owned()),
        1..=107 => Ok(PathBuf::from(path)),
        long => Err(format!("a socket path of {long} bytes is longer than the 107 that the system takes")),
    }
}
