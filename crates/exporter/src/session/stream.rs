//! `RouterService` of a session: one byte stream of one driver.
use futures::{FutureExt as _, StreamExt as _, stream, stream::BoxStream};
use jumpstarter_protocol::v1::{StreamRequest, StreamResponse, router_service_server::RouterService};
use jumpstarter_tunnel::{QUEUE, Tunnel, join};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Session, calls::driver_status};

/// The metadata key `request`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Wanted {
    Driver { uuid: String, method: String },
    Resource {},
}

#[tonic::async_trait]
impl RouterService for Session {
    type StreamStream = BoxStream<'static, Result<StreamResponse, Status>>;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Result<Response<Self::StreamStream>, Status> {
        let wanted = wanted(&request)?;
        self.admit().await?;
        let (uuid, method) = match wanted {
            Wanted::Driver { uuid, method } => (uuid, method),
            Wanted::Resource {} => {
                return Err(Status::unimplemented("client files are not supported by this exporter yet"));
            }
        };
        let driver = self.driver(&uuid)?;
        let mut device = driver.open(&method).await.map_err(|err| driver_status(&err))?;
        let (outbound, frames) = mpsc::channel::<StreamResponse>(QUEUE);
        let (failed, failure) = oneshot::channel::<Status>();
        let mut tunnel = Tunnel::new(request.into_inner(), outbound);
        let closing = self.inner.closing.clone();
        self.inner.tasks.spawn(async move {
            // Dropping the join at session end is meant to cut both sides.
            let outcome = tokio::select! {
                outcome = join(&mut tunnel, &mut device) => outcome.map_err(|err| format!("driver stream: {err}")),
                () = closing.cancelled() => Err("the session ended".to_owned()),
            };
            if let Err(message) = outcome {
                tracing::debug!(%message, "a driver stream was cut");
                let _ = failed.send(Status::aborted(message));
            }
        });
        // After the last frame comes OK, or the reason why the stream was cut.
        let end = stream::once(failure.map(Result::ok)).filter_map(|status| async move { status.map(Err) });
        Ok(Response::new(ReceiverStream::new(frames).map(Ok).chain(end).boxed()))
    }
}

fn wanted<T>(request: &Request<T>) -> Result<Wanted, Status> {
    let Some(value) = request.metadata().get("request") else {
        return Err(Status::invalid_argument("metadata key `request` is missing: it names the driver and its stream"));
    };
    let text = value.to_str().map_err(|_| Status::invalid_argument("metadata key `request` is not ASCII"))?;
    serde_json::from_str(text).map_err(|err| Status::invalid_argument(format!("metadata key `request`: {err}")))
}
