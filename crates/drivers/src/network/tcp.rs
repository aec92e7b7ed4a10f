//! `jumpstarter_driver_network.driver.TcpNetwork`: a TCP port reachable from the lab host.
use futures::{FutureExt as _, future::BoxFuture};

use crate::{Build, ByteStream, Driver, DriverError, Value};

use super::{CLIENT, address::Target, connect_tcp};

/// Connects anew for each stream.
pub(super) struct TcpNetwork(Target);

impl TcpNetwork {
    /// The port `port` of `host`, which clients may be told.
    pub(super) fn to(host: String, port: u16) -> Self {
        Self(Target { host, port, told: true })
    }

    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let target = Target::new(&mut keys);
        keys.end()?;
        Ok(Self(target))
    }
}

impl Driver for TcpNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            match method {
                "address" => self.0.address("tcp", args).await,
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            match method {
                "connect" => Ok(Box::new(connect_tcp(&self.0.host, self.0.port).await?) as ByteStream),
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }
}
