//! What an operator does with the store as a whole.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future, stream};
use http::{Method, Request, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{body, error::ApiError, route::Api};

/// Largest file of manifests.
const MAX_IMPORT: usize = 256 << 20;
/// Pieces of an export on their way to a client.
const PIECES: usize = 8;
const PIECE: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupRequest {
    path: PathBuf,
}

/// `POST /backup`, `/export`, `/import`, `/check`.
pub(crate) async fn answer(api: &Arc<Api>, verb: &str, request: Request<Body>) -> Result<Response, ApiError> {
    if request.method() != Method::POST {
        return Err(ApiError::MethodNotAllowed);
    }
    let store = api.embedded.as_ref().ok_or(ApiError::NoSuchPath)?;
    match verb {
        "backup" => {
            let (_, bytes) = body::read(request, body::MAX_BODY).await?;
            let BackupRequest { path } = serde_json::from_slice(&bytes)
                .map_err(|error| ApiError::BadRequest(format!("expected {{\"path\": \"/FILE\"}}: {error}")))?;
            if !path.is_absolute() {
                let message = format!("path {} is relative: give an absolute one", path.display());
                return Err(ApiError::BadRequest(message));
            }
            store.backup(&path).await?;
            Ok(axum::Json(json!({ "path": path })).into_response())
        }
        "export" => {
            let (pieces, ready) = mpsc::channel(PIECES);
            let export = store.clone();
            let export = async move { export.export(io::BufWriter::with_capacity(PIECE, Pieces(pieces))).await };
            // An error cuts the body short, so that the client does not take the part for the whole.
            let failure = export.into_stream().filter_map(|outcome| future::ready(outcome.err().map(Err)));
            let body = stream::select(ReceiverStream::new(ready).map(Ok), failure);
            Ok(([(CONTENT_TYPE, "application/yaml")], Body::from_stream(body)).into_response())
        }
        "import" => {
            let (_, bytes) = body::read(request, MAX_IMPORT).await?;
            let report = store.import(io::Cursor::new(bytes), &api.namespace).await.map_err(ApiError::Import)?;
            let created: serde_json::Map<_, _> =
                report.created.iter().map(|(kind, count)| (kind.plural().to_owned(), (*count).into())).collect();
            Ok(axum::Json(json!({ "created": created })).into_response())
        }
        _ => Ok(axum::Json(json!({ "faults": store.integrity_check().await? })).into_response()),
    }
}

/// Writes into a channel. Blocks while it is full.
struct Pieces(mpsc::Sender<Bytes>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
