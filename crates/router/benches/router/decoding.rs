//! The straightforward router: verifies the same tickets, joins two calls, hands decoded messages over.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use jumpstarter_auth::TicketVerifier;
use jumpstarter_protocol::v1::router_service_server::{RouterService, RouterServiceServer};
use jumpstarter_protocol::v1::{StreamRequest, StreamResponse};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

type Responses = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

/// A first half, and the way to give it the second.
type Half = (Streaming<StreamRequest>, oneshot::Sender<Streaming<StreamRequest>>);

struct Decoding {
    verifier: TicketVerifier,
    waiting: Arc<Mutex<HashMap<String, Half>>>,
}

pub fn routes(verifier: TicketVerifier) -> axum::Router {
    let service = Decoding { verifier, waiting: Arc::default() };
    tonic::service::Routes::new(RouterServiceServer::new(service)).into_axum_router()
}

fn response(request: StreamRequest) -> StreamResponse {
    StreamResponse { payload: request.payload, frame_type: request.frame_type }
}

#[tonic::async_trait]
impl RouterService for Decoding {
    type StreamStream = Responses;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Result<Response<Responses>, Status> {
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let ticket = bearer.strip_prefix("Bearer ").unwrap_or_default();
        let ticket = self.verifier.verify(ticket, Timestamp::now());
        let stream = ticket.map_err(|error| Status::unauthenticated(error.to_string()))?.stream_id;
        let mine = request.into_inner();
        let mut waiting = self.waiting.lock().unwrap();
        if let Some((theirs, partner)) = waiting.remove(&stream) {
            drop(partner.send(mine));
            return Ok(Response::new(Box::pin(theirs.map(|request| request.map(response)))));
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(stream, (mine, sender));
        let joined = futures::stream::once(async move { receiver.await.map_err(|_| Status::aborted("gone")) })
            .map(|theirs| match theirs {
                Ok(theirs) => theirs.map(|request| request.map(response)).boxed(),
                Err(status) => futures::stream::once(async { Err(status) }).boxed(),
            })
            .flatten();
        Ok(Response::new(Box::pin(joined)))
    }
}
