//! The gRPC edge: from a request to a half, and from a refusal to a status.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use jumpstarter_transport::PeerAddr;

use crate::router::Core;
use crate::{Refusal, StreamTicket};

/// The path of the one method.
const STREAM: &str = "/jumpstarter.v1.RouterService/Stream";

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Longer tickets are not looked at: ours have some 400 bytes.
const MAX_TICKET: usize = 8 * 1024;

pub(crate) fn routes(core: Arc<Core>) -> axum::Router {
    axum::Router::new().route(STREAM, post(stream)).with_state(core)
}

async fn stream(State(core): State<Arc<Core>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.version != Version::HTTP_2 {
        return plain(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    if !is_grpc(&head.headers) {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let opened = admit(&core, &head.headers).and_then(|ticket| core.open(ticket, peer(&head.extensions), body));
    match opened {
        // Sent before the partner is there, so that a peer knows that its ticket was accepted.
        Ok(outbound) => {
            let mut response = Response::new(Body::new(outbound));
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
        Err(refusal) => {
            core.metrics.count_refusal(refusal);
            tracing::debug!(reason = refusal.reason(), peer = ?peer(&head.extensions), "call refused");
            let mut response: Response = refusal.status().into_http();
            if refusal == Refusal::Encoding {
                response.headers_mut().insert(GRPC_ACCEPT_ENCODING, IDENTITY);
            }
            response
        }
    }
}

/// Everything that can be said before the pairing. Costs one signature check.
fn admit(core: &Core, headers: &HeaderMap) -> Result<StreamTicket, Refusal> {
    // The answer starts before the partner is known, so that both sides must speak plainly.
    if headers.get_all(GRPC_ENCODING).iter().any(|encoding| encoding != IDENTITY) {
        return Err(Refusal::Encoding);
    }
    core.tickets.check(bearer(headers)?)
}

/// The ticket in the metadata.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::NoTicket)?;
    if values.next().is_some() || value.len() > MAX_TICKET {
        return Err(Refusal::MalformedTicket);
    }
    let text = value.to_str().map_err(|_| Refusal::MalformedTicket)?;
    match text.split_once(' ') {
        Some((scheme, ticket)) if scheme.eq_ignore_ascii_case("bearer") && !ticket.is_empty() => Ok(ticket),
        Some(_) | None => Err(Refusal::MalformedTicket),
    }
}

/// `application/grpc`, or with a suffix as in `application/grpc+proto`.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The peer's address, as the server that runs us tells it.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    match extensions.get::<PeerAddr>() {
        Some(PeerAddr::Tcp(peer)) => Some(*peer),
        Some(PeerAddr::Unix { uid: _ }) | None => None,
    }
}

fn plain(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
