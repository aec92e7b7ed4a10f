//! `jumpstarter_driver_tftp.driver.Tftp`: files of the child `storage` over TFTP, for boot loaders.
mod packet;
mod transfer;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::Mutex,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{Build, Built, Driver, DriverError, DriverLog, Value, args::Args};

use super::{
    Settings,
    service::{Service, bind_error},
};
use transfer::Transfer;

/// Transfers at once; further requests are dropped, and boot loaders repeat theirs.
const MAX_TRANSFERS: usize = 128;
/// Requests fit into one unfragmented datagram (RFC 1350 and 2347 give 512 bytes).
const MAX_REQUEST: usize = 1500;

pub(super) async fn build(mut build: Build) -> Result<Built, String> {
    let settings = Settings::new(&mut build, "/var/lib/tftpboot", 69, &[]).await?;
    let storage = settings.storage(&build)?;
    let server = Tftp { settings, running: Mutex::default(), log: build.log };
    Ok(Built::new(server).child("storage", storage))
}

/// Answers read requests for files of one flat directory between `start` and `stop`.
struct Tftp {
    settings: Settings,
    running: Mutex<Option<Service>>,
    log: DriverLog,
}

impl Tftp {
    async fn start(&self) -> Result<(), DriverError> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            self.log.warning("TFTP server is already running");
            return Ok(());
        }
        let Settings { host, port, root, .. } = &self.settings;
        let failed = |err| bind_error("TFTP", host, *port, err);
        let address = lookup_host((host.as_str(), *port)).await.map_err(failed)?.next();
        let address =
            address.ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))?;
        let socket = UdpSocket::bind(address).await.map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        let (root, log) = (root.clone(), self.log.clone());
        *running = Some(Service::start(port, |stop| serve(socket, root, log, stop)));
        self.log.info(&format!("TFTP server started on {host}:{port}"));
        Ok(())
    }

    async fn stop(&self) {
        match self.running.lock().await.take() {
            Some(service) => {
                service.stop().await;
                self.log.info("TFTP server stopped");
            }
            None => self.log.debug("TFTP server is not running"),
        }
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

impl Driver for Tftp {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_tftp.client.TftpServerClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let Settings { host, port, .. } = &self.settings;
            let answer = match method {
                "start" | "stop" => Value::Null,
                "get_host" => json!(host),
                "get_port" => json!(self.running.lock().await.as_ref().map_or(*port, |service| service.port)),
                _ => return Err(DriverError::not_found(method)),
            };
            Args::new(method, args).end()?;
            match method {
                "start" => self.start().await?,
                "stop" => self.stop().await,
                _ => {}
            }
            Ok(answer)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async {
            self.stop().await;
            Ok(())
        }
        .boxed()
    }
}
