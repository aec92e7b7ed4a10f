//! `jumpstarter_driver_http.driver.HttpServer`: files of the child `storage` over HTTP.
use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower_http::services::ServeDir;

use crate::{Build, Built, Driver, DriverError, DriverLog, Value, args::Args};

use super::{
    Settings,
    service::{Service, bind_error},
};

/// A peer that does not finish its request within this is cut.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;

pub(super) async fn build(mut build: Build) -> Result<Built, String> {
    let settings = Settings::new(&mut build, "/var/www", 8080, &["timeout"]).await?;
    let storage = settings.storage(&build)?;
    let server = HttpServer { settings, running: Mutex::default(), log: build.log };
    Ok(Built::new(server).child("storage", storage))
}

/// Serves its directory between `start` and `stop`: GET and HEAD, no listings.
struct HttpServer {
    settings: Settings,
    running: Mutex<Option<Service>>,
    log: DriverLog,
}

impl HttpServer {
    async fn start(&self) -> Result<(), DriverError> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            self.log.warning("HTTP server is already running");
            return Ok(());
        }
        let Settings { host, port, root, .. } = &self.settings;
        let failed = |err| bind_error("HTTP", host, *port, err);
        let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let files = ServeDir::new(root).append_index_html_on_directories(false);
        *running = Some(Service::start(port, |stop| serve(listener, files, stop)));
        self.log.info(&format!("HTTP server started at http://{host}:{port}"));
        Ok(())
    }

    async fn stop(&self) {
        match self.running.lock().await.take() {
            Some(service) => {
                service.stop().await;
                self.log.info("HTTP server stopped");
            }
            None => self.log.debug("HTTP server is not running"),
        }
    }

    /// 0 unless it runs.
    async fn port(&self) -> u16 {
        self.running.lock().await.as_ref().map_or(0, |service| service.port)
    }
}

async fn serve(listener: TcpListener, files: ServeDir, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            // `join_next` and `accept` are cancel safe by their documentation.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((io, _)) => drop(connections.spawn(connection(io, files.clone(), stop.clone()))),
                Err(err) => {
                    tracing::warn!(%err, "accept an HTTP connection");
                    // Out of descriptors, most likely: give others the time to free some.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(io: TcpStream, files: ServeDir, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let serving = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(files));
    let mut serving = std::pin::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(err) = outcome {
        tracing::debug!(%err, "an HTTP connection ended");
    }
}

impl Driver for HttpServer {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_http.client.HttpServerClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let host = &self.settings.host;
            let answer = match method {
                "start" | "stop" => Value::Null,
                "get_url" => json!(format!("http://{host}:{}", self.port().await)),
                "get_host" => json!(host),
                "get_port" => json!(self.port().await),
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
