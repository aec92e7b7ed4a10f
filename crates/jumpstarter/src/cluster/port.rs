//! The gRPC port of a replica, open from start to end whoever serves it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener},
    os::fd::AsFd as _,
};

use anyhow::Context as _;
use jumpstarter_transport::{BindOptions, Listener, listen};
use tokio::net::TcpListener;

/// Listening sockets that are never closed while this lives. Whoever serves them gets duplicates: a connection that
/// arrives between two owners waits in the queue of the kernel instead of being refused.
pub(crate) struct Port {
    sockets: Vec<StdTcpListener>,
    address: SocketAddr,
}

impl Port {
    /// Binds `HOST:PORT`; an empty host means every address.
    pub(crate) async fn bind(address: &str) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        for listener in listen::bind_tcp(address, &BindOptions::default()).await? {
            if let Listener::Tcp(listener) = listener {
                sockets.push(listener.into_std()?);
            }
        }
        let address = sockets.first().context("no TCP listener was bound")?.local_addr()?;
        Ok(Self { sockets, address })
    }

    /// The first address, with the port that was given for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where this host itself reaches the port, `host:port`.
    pub(crate) fn local(&self) -> String {
        // Sockets of every IPv6 address take IPv4 too.
        let ip = if self.address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { self.address.ip() };
        SocketAddr::new(ip, self.address.port()).to_string()
    }

    /// Duplicates to accept from. Dropping them closes nothing.
    pub(crate) fn listeners(&self) -> io::Result<Vec<Listener>> {
        self.sockets
            .iter()
            .map(|socket| {
                let duplicate = StdTcpListener::from(socket.as_fd().try_clone_to_owned()?);
                Ok(Listener::Tcp(TcpListener::from_std(duplicate)?))
            })
            .collect()
    }
}
