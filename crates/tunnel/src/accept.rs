//! Answering a stream as a gRPC server.
use http::{HeaderValue, Request, Response, header};
use tonic::{Status, body::Body, metadata::MetadataMap};

use crate::{
    Tunnel,
    inbound::Inbound,
    outbound::{Outbound, Side},
};

/// Takes a request for `RouterService.Stream`: the tunnel, and the answer to give at once, with `metadata`.
///
/// The answer ends with [`Tunnel::finish`], or as cut when the tunnel is dropped before.
///
/// # Errors
/// When the request's messages are compressed: they are passed on as they come.
pub fn accept<B>(request: Request<B>, metadata: MetadataMap) -> Result<(Tunnel, Response<Body>), Status>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<jumpstarter_transport::serve::BoxError>,
{
    if request.headers().get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
        let mut status =
            Status::unimplemented("byte streams are not compressed: send them with grpc-encoding identity");
        status.metadata_mut().insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity"));
        return Err(status);
    }
    let (outbound, body) = Outbound::new(Side::Server);
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = metadata.into_headers();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let inbound = Inbound::request(Body::new(request.into_body()));
    Ok((Tunnel::new(inbound, outbound, Side::Server), response))
}
