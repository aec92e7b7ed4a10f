//! `jumpstarter_driver_network.driver.UdpNetwork`: a UDP port reachable from the lab host.
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UdpSocket, lookup_host},
};

use crate::{Build, ByteStream, Driver, DriverError, Value};

use super::{CLIENT, address::Target, within};

/// A socket for each stream; one frame is one datagram.
pub(super) struct UdpNetwork(Target);

impl UdpNetwork {
    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let target = Target::new(&mut keys);
        keys.end()?;
        Ok(Self(target))
    }

    async fn connect(&self) -> io::Result<UdpSocket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((self.0.host.as_str(), self.0.port)).await? {
            let local: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(local).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(err) => last = err,
            }
        }
        Err(last)
    }
}

impl Driver for UdpNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            match method {
                "address" => self.0.address("udp", args).await,
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
            let target = format!("udp {}:{}", self.0.host, self.0.port);
            let socket = within(self.connect()).await.map_err(|err| DriverError::connection(&target, err))?;
            Ok(Box::new(Datagrams(socket)) as ByteStream)
        }
        .boxed()
    }
}

/// Datagrams as reads and writes. As on every network they may get lost, but they are never torn or joined.
struct Datagrams(UdpSocket);

/// What an earlier datagram came back with (nobody listens there just now) says nothing about the next.
fn harmless(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::ConnectionRefused
}

impl AsyncRead for Datagrams {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !buf.filled().is_empty() {
            // A copier tops up what it could not hand on yet. It reads again, into an empty buffer, when it has.
            return Poll::Pending;
        }
        loop {
            match ready!(self.0.poll_recv(cx, buf)) {
                // An empty datagram would be taken for the end.
                Ok(()) if buf.filled().is_empty() => {}
                Err(err) if harmless(&err) => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Datagrams {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(match ready!(self.0.poll_send(cx, buf)) {
            Err(err) if harmless(&err) => Ok(buf.len()),
            sent => sent,
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
