//! The straightforward router: verifies the same tickets, joins two calls, hands decoded messages over.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use jumpstarter_auth::TicketVerifier;
use jumpstarter_protocol::v1::router_service_server::{RouterService, RouterServiceServer};
use jumpstarter_protocol::v1::{StreamRequest, StreamResponse};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Responses = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

/// A first half, and the way to give it the second.
type Half = (Streaming<StreamRequest>, oneshot::Sender<Streaming<StreamRequest>>);

struct Decoding {
    verifier: TicketVerifier,
    waiting: Arc<Mutex<HashMap<String, Half>>>,
}

/// With tonic's own server, and windows in which h2 lets half a million small frames wait.
pub async fn serve(verifier: TicketVerifier, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let service = RouterServiceServer::new(Decoding { verifier, waiting: Arc::default() });
    let tls = TlsAcceptor::from(tls);
    let (sender, secured) = tokio::sync::mpsc::channel(64);
    let mut handshakes = JoinSet::new();
    handshakes.spawn(async move {
        let mut handshakes = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (tls, sender) = (tls.clone(), sender.clone());
            handshakes.spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    drop(sender.send(Ok::<_, std::io::Error>(stream)).await);
                }
            });
            while handshakes.try_join_next().is_some() {}
        }
    });
    tonic::transport::Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(32 << 20)
        .serve_with_incoming(service, ReceiverStream::new(secured))
        .await
        .unwrap();
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
