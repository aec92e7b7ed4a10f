//! `RouterService` of a session: the byte stream of a driver, or the file of a client.
//!
//! Requests and answers are handled as the bodies that they are, so that payloads are not decoded by copying.
use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderName, HeaderValue, Request, Response};
use jumpstarter_drivers::{
    HostedResource,
    storage::{ClientStream, Encoding, Outgoing},
};
use jumpstarter_tunnel::{DataMessage, MAX_CHUNK, TunnelWriter, accept, join_halves};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, metadata::MetadataMap, server::NamedService};
use uuid::Uuid;

use super::{Session, calls::driver_status};

/// Metadata that tells a client how to name its file in calls.
const RESOURCE: HeaderName = HeaderName::from_static("resource");
/// Metadata that tells a client that the exporter undoes its file's compression. Without it the client does.
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("x_jmp_accept_encoding");

/// The metadata key `request`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Wanted {
    Driver {
        uuid: String,
        method: String,
    },
    Resource {
        uuid: String,
        #[serde(default)]
        x_jmp_content_encoding: Option<String>,
    },
}

/// `jumpstarter.v1.RouterService`.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Session);

impl NamedService for Streams {
    const NAME: &'static str = "jumpstarter.v1.RouterService";
}

impl tower::Service<Request<Body>> for Streams {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let session = self.0.clone();
        async move { Ok(session.stream(request).await.unwrap_or_else(Status::into_http)) }.boxed()
    }
}

impl Session {
    async fn stream(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        if !request.uri().path().ends_with("/Stream") {
            return Err(Status::unimplemented("RouterService has one method: Stream"));
        }
        let wanted = wanted(&request)?;
        self.admit().await?;
        match wanted {
            Wanted::Driver { uuid, method } => self.driver_stream(&uuid, &method, request).await,
            Wanted::Resource { uuid, x_jmp_content_encoding: encoding } => {
                self.resource_stream(&uuid, encoding.as_deref(), request).await
            }
        }
    }

    async fn driver_stream(&self, uuid: &str, method: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
        let device = self.driver(uuid)?.open(method).await.map_err(|err| driver_status(&err))?;
        let (tunnel, response) = accept(request, MetadataMap::new())?;
        // Some devices take datagrams.
        self.join(device, tunnel.keep_borders());
        Ok(response)
    }

    async fn resource_stream(
        &self,
        uuid: &str,
        encoding: Option<&str>,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let driver = self.driver(uuid)?;
        if let Some(hosted) = driver.open_resource(encoding).await {
            let HostedResource { metadata, stream } = hosted.map_err(|err| driver_status(&err))?;
            let (tunnel, mut response) = accept(request, MetadataMap::new())?;
            for (key, value) in metadata {
                if let (Ok(key), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
                    response.headers_mut().insert(key, value);
                }
            }
            self.join(stream, tunnel);
            return Ok(response);
        }
        // An encoding that is not known here is left to the client, and the handle says that nothing is to be undone.
        let encoding = encoding.and_then(|text| text.parse::<Encoding>().ok()).map(Encoding::as_str);
        let (tunnel, mut response) = accept(request, MetadataMap::new())?;
        let (reader, writer) = tunnel.into_split();
        let stream = self.inner.tree.resources().offer(reader.boxed()).map_err(|err| driver_status(&err))?;
        response.headers_mut().insert(RESOURCE, handle(stream.id(), encoding)?);
        if let Some(encoding) = encoding {
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        }
        let closing = self.inner.closing.clone();
        self.inner.tasks.spawn(async move {
            let status = send(stream, &writer, &closing).await;
            // A client that has left needs no status.
            let _ = writer.finish(status).await;
        });
        Ok(response)
    }

    /// Joins a stream of the driver's and the client's, as a task of the session.
    fn join<A>(&self, device: A, tunnel: jumpstarter_tunnel::Tunnel)
    where
        A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let closing = self.inner.closing.clone();
        self.inner.tasks.spawn(async move {
            let (mut reader, writer) = tunnel.into_split();
            // Dropping the join at session end is meant to cut both sides.
            let status = tokio::select! {
                outcome = join_halves(device, &mut reader, &writer) => match outcome {
                    Ok(_) => Status::ok(""),
                    // A driver in another process brings its own status.
                    Err(err) => match err.get_ref().and_then(|err| err.downcast_ref::<Status>()) {
                        Some(status) => status.clone(),
                        None => Status::aborted(format!("driver stream: {err}")),
                    },
                },
                () = closing.cancelled() => Status::aborted("the session ended"),
            };
            if status.code() != tonic::Code::Ok {
                tracing::debug!(message = status.message(), "a driver stream was cut");
            }
            // A client that has left needs no status.
            let _ = writer.finish(status).await;
        });
    }
}

/// Sends what the driver writes; returns how it ended.
async fn send(mut stream: ClientStream, writer: &TunnelWriter, closing: &CancellationToken) -> Status {
    loop {
        let outgoing = tokio::select! {
            // All three are cancel safe.
            outgoing = stream.next() => outgoing,
            () = writer.closed() => return Status::cancelled("the client left"),
            () = closing.cancelled() => return Status::aborted("the session ended"),
        };
        let sent = match outgoing {
            Some(Outgoing::Data(bytes)) => send_bytes(&bytes, writer).await,
            Some(Outgoing::End) => {
                return match writer.shutdown().await {
                    Ok(()) => Status::ok(""),
                    Err(err) => Status::aborted(err.to_string()),
                };
            }
            None => return Status::aborted("the driver gave up before the file was complete"),
        };
        if let Err(err) = sent {
            return Status::aborted(err.to_string());
        }
    }
}

async fn send_bytes(bytes: &[u8], writer: &TunnelWriter) -> std::io::Result<()> {
    for part in bytes.chunks(MAX_CHUNK) {
        writer.send(DataMessage::from(part)).await?;
    }
    Ok(())
}

fn handle(id: Uuid, encoding: Option<&str>) -> Result<HeaderValue, Status> {
    let text = serde_json::json!({ "kind": "client_stream", "uuid": id, "x_jmp_content_encoding": encoding });
    HeaderValue::try_from(text.to_string()).map_err(|_| Status::internal("the handle cannot be sent"))
}

fn wanted<T>(request: &Request<T>) -> Result<Wanted, Status> {
    let Some(value) = request.headers().get("request") else {
        return Err(Status::invalid_argument("metadata key `request` is missing: it names the driver and its stream"));
    };
    let text = value.to_str().map_err(|_| Status::invalid_argument("metadata key `request` is not ASCII"))?;
    serde_json::from_str(text).map_err(|err| Status::invalid_argument(format!("metadata key `request`: {err}")))
}
