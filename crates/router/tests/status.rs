//! What a router tells of itself, and to whom.

#![allow(clippy::unwrap_used, clippy::allow_attributes_without_reason, reason = "a test may unwrap")]

mod lab;

use std::sync::Arc;

use jiff::Timestamp;
use jumpstarter_auth::{TicketIssuer, TicketVerifier};
use jumpstarter_protocol::router::v1::router_status::State;
use jumpstarter_protocol::router::v1::router_status_service_client::RouterStatusServiceClient;
use jumpstarter_protocol::router::v1::{RouterStatus, WatchRequest};
use jumpstarter_router::{Config, Side};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use lab::{Lab, keys, soon};

/// A lab and what signs for it.
async fn watched() -> (Lab, TicketIssuer) {
    let keys = keys("the key of this lab");
    let config = Config { max_streams: 70, max_waiting: 60, ..Config::default() };
    let lab = Lab::with_tickets(config, Arc::new(TicketVerifier::new(&keys)), &keys).await;
    (lab, TicketIssuer::new(&keys))
}

async fn watch(lab: &Lab, token: &str) -> Result<Streaming<RouterStatus>, Status> {
    let channel = Endpoint::from_shared(format!("http://{}", lab.address)).unwrap().connect_lazy();
    let mut request = Request::new(WatchRequest {});
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    soon(RouterStatusServiceClient::new(channel).watch(request)).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn the_controller_is_told_at_once_what_there_is_and_that_the_router_drains() {
    let (lab, issuer) = watched().await;
    let (mut client, mut exporter) = lab.pair().await;
    let sent = lab::message(b"hello");
    client.send(sent.clone()).await;
    exporter.expect(&sent).await;
    let _waiting = lab.open(&lab.ticket(Uuid::new_v4(), Side::Client)).await;
    lab::until(|| lab.router.stats().waiting == 1).await;

    let token = issuer.issue_status_token(Timestamp::now()).unwrap();
    let mut reports = watch(&lab, &token).await.unwrap();
    let first = soon(reports.message()).await.unwrap().unwrap();
    assert_eq!(first.state(), State::Serving);
    assert_eq!((first.open_streams, first.waiting_streams), (1, 1));
    assert_eq!((first.max_streams, first.max_waiting_streams), (70, 60));
    assert_eq!(first.total_bytes, sent.len() as u64);
    assert_eq!(first.version, env!("CARGO_PKG_VERSION"));

    lab.router.drain();
    // A report that was on its way may come before.
    let last = loop {
        let report = soon(reports.message()).await.unwrap().unwrap();
        if report.state() == State::Draining {
            break report;
        }
    };
    assert_eq!((last.instance_id, last.waiting_streams), (first.instance_id, 0));
    assert!(soon(reports.message()).await.unwrap().is_none(), "the watch ends, so that its connection can");
    let mut later = watch(&lab, &token).await.unwrap();
    assert_eq!(soon(later.message()).await.unwrap().unwrap().state(), State::Draining);
    assert!(soon(later.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn nobody_else_is_told_anything() {
    let (lab, issuer) = watched().await;
    let ticket = lab.ticket(Uuid::new_v4(), Side::Client);
    let foreign = TicketIssuer::new(&keys("another key")).issue_status_token(Timestamp::now()).unwrap();
    let hour = jiff::SignedDuration::from_hours(1);
    let old = issuer.issue_status_token(Timestamp::now().checked_sub(hour).unwrap()).unwrap();
    for token in ["", "nonsense", &ticket, &foreign, &old] {
        let refused = watch(&lab, token).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token}: {refused}");
    }
    let token = issuer.issue_status_token(Timestamp::now()).unwrap();
    let mut peer = lab.open(&token).await;
    let (_, ended) = peer.end().await;
    assert_eq!(ended.code(), Code::Unauthenticated as i32, "it opens no stream");
}
