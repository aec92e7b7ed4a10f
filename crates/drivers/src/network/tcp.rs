//! `jumpstarter_driver_network.driver.TcpNetwork`: a TCP port reachable from the lab host.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use serde::Deserialize;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{ByteStream, Driver, DriverError, Value};

use super::CLIENT;

/// A port that does not answer for this long is reported as a timeout; Linux alone would try for two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects anew for each stream.
#[derive(Debug, Deserialize)]
pub(crate) struct TcpNetwork {
    host: String,
    port: u16,
    #[serde(default = "yes")]
    enable_address: bool,
}

fn yes() -> bool {
    true
}

impl TcpNetwork {
    /// Keys of `config`.
    pub(crate) const KEYS: [&str; 3] = ["host", "port", "enable_address"];

    async fn connect(&self) -> io::Result<TcpStream> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream =
            timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// `tcp://` and the first address that the host name has; the name itself when it has none.
    async fn address(&self) -> String {
        let known = self.host.parse::<IpAddr>().ok();
        let ip = match known {
            Some(ip) => Some(ip),
            None => {
                lookup_host((self.host.as_str(), self.port)).await.ok().and_then(|mut all| all.next()).map(|a| a.ip())
            }
        };
        match ip {
            Some(ip) => format!("tcp://{}", SocketAddr::new(ip, self.port)),
            None => format!("tcp://{}:{}", self.host, self.port),
        }
    }
}

impl Driver for TcpNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, _args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            match method {
                "address" if self.enable_address => Ok(Value::String(self.address().await)),
                "address" => {
                    let message = "enable_address mode is not true in the exporter configuration";
                    Err(DriverError::InvalidArgument(message.to_owned()))
                }
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            if method != "connect" {
                return Err(DriverError::not_found(method));
            }
            let target = format!("{}:{}", self.host, self.port);
            let stream = self.connect().await.map_err(|err| DriverError::connection(&target, err))?;
            Ok(Box::new(stream) as ByteStream)
        }
        .boxed()
    }
}
