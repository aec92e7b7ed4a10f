//! `jumpstarter_driver_tftp.driver.Tftp`: files of the child `storage` over TFTP, for boot loaders.
mod packet;
mod transfer;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use serde_json::json;
use tokio::{
    net::{UdpSocket, lookup_host},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{Build, Built, DriverLog, Value};

use super::{
    Settings,
    server::{Protocol, Server},
    service::Service,
};
use transfer::Transfer;

/// Transfers at once; further requests are dropped, and boot loaders repeat theirs.
const MAX_TRANSFERS: usize = 128;
/// Requests fit into one unfragmented datagram (RFC 1350 and 2347 give 512 bytes).
const MAX_REQUEST: usize = 1500;

pub(super) async fn build(mut build: Build) -> Result<Built, String> {
    let settings = Settings::new(&mut build, "/var/lib/tftpboot", 69, &[]).await?;
    Server::<Tftp>::build(settings, build)
}

/// Read requests for files of one flat directory.
enum Tftp {}

impl Protocol for Tftp {
    const NAME: &'static str = "TFTP";
    const CLIENT: &'static str = "jumpstarter_driver_tftp.client.TftpServerClient";

    async fn start(settings: &Settings, log: &DriverLog) -> io::Result<Service> {
        let address = lookup_host((settings.host.as_str(), settings.port)).await?.next();
        let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
        let socket = UdpSocket::bind(address).await?;
        let port = socket.local_addr()?.port();
        let (root, log) = (settings.root.clone(), log.clone());
        Ok(Service::start(port, |stop| serve(socket, root, log, stop)))
    }

    fn place(host: &str, port: u16) -> String {
        format!("on {host}:{port}")
    }

    fn tell(method: &str, settings: &Settings, port: Option<u16>) -> Option<Value> {
        (method == "get_port").then(|| json!(port.unwrap_or(settings.port)))
    }
}

async fn serve(socket: UdpSocket, root: PathBuf, log: DriverLog, stop: CancellationToken) {
    let root: Arc<std::path::Path> = root.into();
    let mut transfers = JoinSet::new();
    let mut buffer = [0; MAX_REQUEST];
    loop {
        let (n, peer): (usize, SocketAddr) = tokio::select! {
            () = stop.cancelled() => break,
            // `join_next` and `recv_from` are cancel safe by their documentation.
            Some(_) = transfers.join_next() => continue,
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // An error of an earlier datagram, such as a port that was closed again.
                Err(err) => {
                    tracing::debug!(%err, "receive a TFTP request");
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        let Ok(local) = socket.local_addr() else { break };
        if transfers.len() < MAX_TRANSFERS {
            let transfer = Transfer { root: Arc::clone(&root), local: local.ip(), peer, log: log.clone() };
            transfers.spawn(transfer.answer(buffer[..n].to_vec()));
        }
    }
    while transfers.join_next().await.is_some() {}
}
