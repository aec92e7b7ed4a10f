//! `jumpstarter_driver_network.driver.VsockNetwork`: a port of a virtual machine on this host.
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
};

use futures::{FutureExt as _, future::BoxFuture};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

use crate::{Build, ByteStream, Driver, DriverError};

use super::{CLIENT, within};

/// Connects anew for each stream.
pub(crate) struct VsockNetwork {
    cid: u32,
    port: u32,
}

impl VsockNetwork {
    /// Leads to `port` of the machine `cid`.
    pub(crate) fn to(cid: u32, port: u32) -> Self {
        Self { cid, port }
    }

    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let (cid, port) = (keys.required("cid"), keys.required("port"));
        keys.end()?;
        Ok(Self::to(cid, port))
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::vsock(self.cid, self.port)) {
            Ok(()) => {}
            Err(err) if err.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            Err(err) => return Err(err),
        }
        // Reading, writing and shutting down are the same calls for every kind of stream socket.
        let stream = UnixStream::from_std(StdStream::from(OwnedFd::from(socket)))?;
        stream.writable().await?;
        stream.take_error()?.map_or(Ok(stream), Err)
    }
}

impl Driver for VsockNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            if method != "connect" {
                return Err(DriverError::not_found(method));
            }
            let target = format!("vsock {}:{}", self.cid, self.port);
            let stream = within(self.connect()).await.map_err(|err| DriverError::connection(&target, err))?;
            Ok(Box::new(stream) as ByteStream)
        }
        .boxed()
    }
}
