//! Talking to the running service over the operator's socket.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;

/// The longest that the service may take to answer; an import of a large lab takes seconds.
const ANSWER: Duration = Duration::from_mins(5);
const CONTENT_JSON: &str = "application/json";

/// What the service answers.
pub(crate) struct Answer {
    pub(crate) status: http::StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Why it refuses.
    pub(crate) fn message(&self) -> String {
        serde_json::from_slice::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned())
    }
}

/// Posts to the running service. `None` when no service runs on this data directory.
pub(crate) async fn post(socket: &Path, path: &str, body: Vec<u8>) -> anyhow::Result<Option<Bytes>> {
    match request(socket, http::Method::POST, path, body).await? {
        Some(answer) if answer.status.is_success() => Ok(Some(answer.body)),
        Some(answer) => bail!("{}", answer.message()),
        None => Ok(None),
    }
}

/// Asks the running service, refusals included. `None` when no service runs on this data directory.
pub(crate) async fn request(
    socket: &Path,
    method: http::Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<Option<Answer>> {
    let Ok(stream) = tokio::net::UnixStream::connect(socket).await else { return Ok(None) };
    let answer = tokio::time::timeout(ANSWER, exchange(stream, method, path, body));
    answer.await.context("the service did not answer in time")?.map(Some)
}

async fn exchange(
    stream: tokio::net::UnixStream,
    method: http::Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("speak to the service")?;
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONTENT_TYPE, CONTENT_JSON)
        .body(Full::new(Bytes::from(body)))?;
    let call = async {
        let response = sender.send_request(request).await.context("ask the service")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("read the answer")?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::select! {
        // The connection only ends by itself when the answer can no longer come.
        answered = call => answered,
        ended = connection => match ended {
            Err(error) => Err(error).context("speak to the service"),
            Ok(()) => bail!("the service closed the connection"),
        },
    }
}
