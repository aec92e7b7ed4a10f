//! Opening a stream as a gRPC client.
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use jumpstarter_transport::serve::BoxError;
use tonic::{Status, body::Body, client::GrpcService, metadata::MetadataMap};

use crate::{
    Tunnel,
    inbound::Inbound,
    outbound::{Outbound, Side},
};

/// Path of the call.
pub(crate) const PATH: &str = "/jumpstarter.v1.RouterService/Stream";

/// Opens this side's half of a tunnel at a router with the ticket that the controller gave.
///
/// Returns as soon as the request is on its way: routers answer only once the other half is there, and what is
/// written meanwhile is kept for it. The call is driven by whoever reads.
///
/// # Errors
/// When the ticket cannot be sent.
pub fn open<S>(channel: S, ticket: &str) -> Result<Tunnel, Status>
where
    S: GrpcService<Body, ResponseBody = Body> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    let mut headers = HeaderMap::new();
    let mut value = HeaderValue::from_str(&format!("Bearer {ticket}"))
        .map_err(|_| Status::internal("the router ticket is no valid header value"))?;
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    let (outbound, body) = Outbound::new(Side::Client);
    let answer = call(channel, headers, body).map(|answer| answer.map(|(_, body)| body)).boxed();
    Ok(Tunnel::new(Inbound::opening(answer), outbound, Side::Client))
}

/// Opens a stream with the given request metadata and waits for the answer's headers, as drivers' streams want it.
/// Returns them with the stream.
///
/// # Errors
/// When the other side refuses, or cannot be reached.
pub async fn open_with<S>(channel: S, metadata: MetadataMap) -> Result<(Tunnel, MetadataMap), Status>
where
    S: GrpcService<Body, ResponseBody = Body> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    let (outbound, body) = Outbound::new(Side::Client);
    let (headers, body) = call(channel, metadata.into_headers(), body).await?;
    Ok((Tunnel::new(Inbound::answer(body), outbound, Side::Client), MetadataMap::from_headers(headers)))
}

fn call<S>(mut channel: S, headers: HeaderMap, body: Outbound) -> BoxFuture<'static, Result<(HeaderMap, Body), Status>>
where
    S: GrpcService<Body, ResponseBody = Body> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    let failed = |err: S::Error| Status::from_error(err.into());
    async move {
        let mut request = Request::new(Body::new(body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(PATH);
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(failed)?;
        let (head, body) = channel.call(request).await.map_err(failed)?.into_parts();
        // A call that is refused has its status in the headers.
        if let Some(status) = Status::from_header_map(&head.headers)
            && status.code() != tonic::Code::Ok
        {
            return Err(status);
        }
        if head.status != http::StatusCode::OK {
            return Err(Status::unavailable(format!("the other side answered HTTP {}", head.status)));
        }
        if head.headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
            return Err(Status::internal("the other side compresses messages although it was not asked to"));
        }
        Ok((head.headers, body))
    }
    .boxed()
}
