//! `jumpstarter_driver_http.driver.HttpServer`: files of the child `storage` over HTTP.
use std::{io, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower_http::services::ServeDir;

use crate::{Build, Built, DriverLog, Value};

use super::{
    Settings,
    server::{Protocol, Server},
    service::Service,
};

/// A peer that does not finish its request within this is cut.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;

pub(super) async fn build(mut build: Build) -> Result<Built, String> {
    let settings = Settings::new(&mut build, "/var/www", 8080, &["timeout"]).await?;
    Server::<Http>::build(settings, build)
}

/// GET and HEAD, no listings.
enum Http {}

impl Protocol for Http {
    const NAME: &'static str = "HTTP";
    const CLIENT: &'static str = "jumpstarter_driver_http.client.HttpServerClient";

    async fn start(settings: &Settings, _log: &DriverLog) -> io::Result<Service> {
        let listener = TcpListener::bind((settings.host.as_str(), settings.port)).await?;
        let port = listener.local_addr()?.port();
        let files = ServeDir::new(&settings.root).append_index_html_on_directories(false);
        Ok(Service::start(port, |stop| serve(listener, files, stop)))
    }

    fn place(host: &str, port: u16) -> String {
        format!("at http://{host}:{port}")
    }

    fn tell(method: &str, settings: &Settings, port: Option<u16>) -> Option<Value> {
        let port = port.unwrap_or_default();
        match method {
            "get_url" => Some(json!(format!("http://{}:{port}", settings.host))),
            "get_port" => Some(json!(port)),
            _ => None,
        }
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
