//! Opening a stream as a gRPC client.
use jumpstarter_protocol::v1::{StreamRequest, StreamResponse, router_service_client::RouterServiceClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataMap, transport::Channel};

use crate::{QUEUE, Tunnel};

/// Opens this side's half of a tunnel at a router with the ticket that the controller gave.
///
/// Returns as soon as the request is on its way: routers answer only once the other half is there, and what is
/// written meanwhile is kept for it.
pub fn open(
    channel: Channel,
    ticket: &str,
) -> Result<Tunnel<impl futures::Stream<Item = Result<StreamResponse, Status>> + Send + use<>, StreamRequest>, Status> {
    let mut metadata = MetadataMap::new();
    let value = format!("Bearer {ticket}")
        .parse()
        .map_err(|_| Status::internal("the router ticket is no valid header value"))?;
    metadata.insert("authorization", value);
    let (outbound, frames) = mpsc::channel(QUEUE);
    let mut client = RouterServiceClient::new(channel);
    let mut request = Request::new(ReceiverStream::new(frames));
    *request.metadata_mut() = metadata;
    // The call is driven by whoever reads; the response headers may come minutes later.
    let inbound = futures::stream::once(async move { client.stream(request).await.map(tonic::Response::into_inner) });
    Ok(Tunnel::new(futures::TryStreamExt::try_flatten(inbound), outbound))
}

/// Opens a stream with the given request metadata and waits for the answer's headers, as drivers' streams want it.
pub async fn open_with(
    channel: Channel,
    metadata: MetadataMap,
) -> Result<Tunnel<Streaming<StreamResponse>, StreamRequest>, Status> {
    let (outbound, frames) = mpsc::channel(QUEUE);
    let mut request = Request::new(ReceiverStream::new(frames));
    *request.metadata_mut() = metadata;
    let inbound = RouterServiceClient::new(channel).stream(request).await?.into_inner();
    Ok(Tunnel::new(inbound, outbound))
}
