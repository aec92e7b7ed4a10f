//! Files that the exporter fetches or fills by itself, by a URL that the client has signed or found.
use std::{
    collections::HashMap,
    io,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_LENGTH, LOCATION};
use reqwest::{Body, Client, Response, Url, redirect};
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{DriverError, DriverLog};

use super::{Outgoing, Resource};

/// A whole transfer may take this long.
const TOTAL: Duration = Duration::from_hours(2);
/// Look-up, TCP and TLS of one connection.
const CONNECT: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// How often the log tells how far a transfer is.
const PROGRESS: Duration = Duration::from_secs(2);
/// Chunks that wait for an upload.
const QUEUE: usize = 8;
/// Headers that another origin must not see.
const SECRET: [&str; 6] = ["authorization", "cookie", "proxy-authorization", "x-amz-", "x-ms-", "x-goog-"];

/// What the URL was signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Method {
    Get,
    Put,
}

/// An upload that runs; dropping it ends it.
pub(super) struct Upload(JoinSet<Result<(), DriverError>>);

impl Upload {
    /// Waits for the server's answer.
    pub(super) async fn result(mut self) -> Result<(), DriverError> {
        match self.0.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(DriverError::Other("the upload was given up".to_owned())),
        }
    }
}

/// Starts the request.
pub(super) async fn open(
    method: Method,
    url: &str,
    headers: HashMap<String, String>,
    log: DriverLog,
) -> Result<Resource, DriverError> {
    let target: Url =
        url.parse().map_err(|err| DriverError::InvalidArgument(format!("URL '{}': {err}", shown(url))))?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(DriverError::InvalidArgument(format!("URL '{}': only http and https are fetched", shown(url))));
    }
    match method {
        Method::Get => {
            let answer = follow(client()?, target.clone(), headers).await?;
            let total = answer.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
            let name = shown(url);
            let chunks =
                answer.bytes_stream().map_err(move |err| io::Error::other(format!("GET {name}: {}", why(&err))));
            Ok(Resource::download(progress(chunks, total, log).boxed()))
        }
        Method::Put => {
            let client = client()?;
            let (outgoing, incoming) = mpsc::channel(QUEUE);
            let mut task = JoinSet::new();
            task.spawn(put(client, target, headers, incoming));
            Ok(Resource::upload(outgoing, Upload(task)))
        }
    }
}

/// GET, with redirects followed by hand: secrets stay with their origin, and signed paths keep their encoding.
async fn follow(client: &Client, first: Url, headers: HashMap<String, String>) -> Result<Response, DriverError> {
    let (mut url, mut headers) = (first.clone(), headers);
    for _ in 0..=MAX_REDIRECTS {
        let mut request = client.get(url.clone());
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|err| unreachable("GET", &url, &err))?;
        if !answer.status().is_redirection() {
            return accepted("GET", &url, answer);
        }
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(next) = location.and_then(|location| url.join(location).ok()) else {
            let message = format!("GET {}: redirected without a usable Location", shown(url.as_str()));
            return Err(DriverError::Other(message));
        };
        if !matches!(next.scheme(), "http" | "https") {
            let message = format!("GET {}: redirected to something that is not HTTP", shown(url.as_str()));
            return Err(DriverError::Other(message));
        }
        if next.origin() != url.origin() {
            headers.retain(|name, _| {
                let name = name.to_ascii_lowercase();
                !SECRET.iter().any(|secret| name.starts_with(secret))
            });
        }
        url = next;
    }
    Err(DriverError::Other(format!("GET {}: more than {MAX_REDIRECTS} redirects", shown(first.as_str()))))
}

async fn put(
    client: &'static Client,
    url: Url,
    headers: HashMap<String, String>,
    incoming: mpsc::Receiver<Outgoing>,
) -> Result<(), DriverError> {
    let body = futures::stream::unfold(Some(incoming), |incoming| async move {
        let mut incoming = incoming?;
        match incoming.recv().await {
            Some(Outgoing::Data(chunk)) => Some((Ok(chunk), Some(incoming))),
            Some(Outgoing::End) => None,
            // An error cuts the request, so that the server does not keep half a file.
            None => Some((Err(io::Error::other("the driver gave up")), None)),
        }
    });
    let mut request = client.put(url.clone()).body(Body::wrap_stream(body));
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|err| unreachable("PUT", &url, &err))?;
    accepted("PUT", &url, answer).map(drop)
}

fn accepted(method: &str, url: &Url, answer: Response) -> Result<Response, DriverError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    Err(DriverError::Other(format!("{method} {}: the server answered {status}", shown(url.as_str()))))
}

fn unreachable(method: &str, url: &Url, err: &reqwest::Error) -> DriverError {
    let message = format!("{method} {}: {}", shown(url.as_str()), why(err));
    if err.is_timeout() {
        return DriverError::Timeout(message);
    }
    let kind = if err.is_connect() { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::Other };
    DriverError::Connection { message, source: io::Error::new(kind, why(err)) }
}

/// Reasons without the URL, which may hold a signature.
fn why(err: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(err);
    while let Some(err) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&err.to_string());
        next = err.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}

/// The URL without its query, which may be a signature.
fn shown(url: &str) -> String {
    match url.split_once('?') {
        Some((before, _)) => format!("{before}?[REDACTED]"),
        None => url.to_owned(),
    }
}

/// The client for all such transfers; made at first use, since reading the system's certificates takes a moment.
fn client() -> Result<&'static Client, DriverError> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        let builder = Client::builder().redirect(redirect::Policy::none()).connect_timeout(CONNECT).timeout(TOTAL);
        builder.build().map_err(|err| format!("set up an HTTP client: {err}"))
    });
    made.as_ref().map_err(|text| DriverError::Other(text.clone()))
}

/// Tells the log how far a download is.
fn progress<S>(chunks: S, total: Option<u64>, log: DriverLog) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send,
{
    let started = Instant::now();
    let mut told = started;
    let mut done = 0_u64;
    chunks.inspect_ok(move |chunk| {
        done += chunk.len() as u64;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let seconds = started.elapsed().as_secs().max(1);
            let of = total.map(|total| format!(" of {}", mib(total))).unwrap_or_default();
            log.info(&format!("transfer: {}{of} MiB, {} MiB/s", mib(done), mib(done / seconds)));
        }
    })
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
