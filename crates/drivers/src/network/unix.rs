//! `jumpstarter_driver_network.driver.UnixNetwork`: a Unix socket on the lab host.
use std::path::PathBuf;

use futures::{FutureExt as _, future::BoxFuture};

use crate::{Build, ByteStream, Driver, DriverError};

use super::{CLIENT, connect_unix, socket_path};

/// Connects anew for each stream.
pub(super) struct UnixNetwork(PathBuf);

impl UnixNetwork {
    /// The socket at `path`, which need not be there yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let path: String = keys.required("path");
        keys.end()?;
        socket_path(&path).map(Self).map_err(|fault| format!("config key 'path': {fault}"))
    }
}

impl Driver for UnixNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            match method {
                "connect" => Ok(Box::new(connect_unix(&self.0).await?) as ByteStream),
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }
}
