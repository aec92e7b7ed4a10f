//! Who is let in, and what the others are told.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

mod lab;

use std::sync::Arc;

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{Side, TicketIssuer};
use jumpstarter_router::{Config, Refusal, StreamId, StreamTicket, TicketCheck};
use lab::{Lab, data, keys, until};
use prometheus_client::registry::Registry;
use uuid::Uuid;

const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const UNAUTHENTICATED: i32 = 16;

/// Headers from pairs, repeated names included.
fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

#[tokio::test]
async fn callers_without_a_good_ticket_are_refused() {
    let lab = Lab::start(Config::default()).await;
    let link = lab.link().await;
    let stream = Uuid::new_v4();
    let now = Timestamp::now();
    let issue = |key: &str, from: Timestamp| {
        let ticket = TicketIssuer::new(&keys(key)).issue(stream, Side::Client, SignedDuration::from_mins(30), from);
        format!("Bearer {}", ticket.unwrap())
    };
    let good = format!("Bearer {}", lab.ticket(stream, Side::Client));
    let foreign = issue("another key", now);
    let ended = issue("the key of this lab", now - SignedDuration::from_mins(31));
    let future = issue("the key of this lab", now + SignedDuration::from_mins(10));
    let long = format!("Bearer {}", "x".repeat(9_000));
    let cases: &[(&[(&'static str, &str)], Refusal)] = &[
        (&[], Refusal::NoTicket),
        (&[("authorization", "")], Refusal::MalformedTicket),
        (&[("authorization", "Bearer")], Refusal::MalformedTicket),
        (&[("authorization", "Bearer ")], Refusal::MalformedTicket),
        (&[("authorization", &good["Bearer ".len()..])], Refusal::MalformedTicket),
        (&[("authorization", "Basic dXNlcjpwYXNz")], Refusal::MalformedTicket),
        (&[("authorization", &good), ("authorization", &good)], Refusal::MalformedTicket),
        (&[("authorization", &long)], Refusal::MalformedTicket),
        (&[("authorization", "Bearer garbage")], Refusal::InvalidTicket),
        (&[("authorization", "Bearer a.b.c")], Refusal::InvalidTicket),
        (&[("authorization", &good[..good.len() - 5])], Refusal::InvalidTicket),
        (&[("authorization", &foreign)], Refusal::InvalidTicket),
        (&[("authorization", &ended)], Refusal::TicketEnded),
        (&[("authorization", &future)], Refusal::TicketNotYetValid),
    ];
    for (index, (pairs, refusal)) in cases.iter().enumerate() {
        let (bytes, end) = link.open_with(headers(pairs)).await.end().await;
        assert!(bytes.is_empty());
        assert_eq!(end.code(), UNAUTHENTICATED, "{index}: {end:?}");
        let lab::End::Status(_, text) = end else { unreachable!() };
        // Percent-encoded on the wire; the first words are enough to tell them apart.
        let expected = refusal.to_string();
        assert!(text.replace("%20", " ").starts_with(&expected[..20]), "{index}: {text}");
        assert!(!text.to_lowercase().contains("expired"), "{index}: {text}");
    }
    assert_eq!(lab.router.stats().refused, cases.len() as u64);
    assert_eq!(lab.router.stats().waiting, 0);
    // The scheme is of any case, and nothing above spent the ticket.
    link.open_with(headers(&[("authorization", &good.replace("Bearer", "bEARER"))])).await.accepted().await;
}

#[tokio::test]
async fn each_side_of_a_stream_opens_once() {
    let lab = Lab::start(Config::default()).await;
    let stream = Uuid::new_v4();
    let ticket = lab.ticket(stream, Side::Client);
    let mut client = lab.open(&ticket).await;
    client.accepted().await;
    for intruder in [ticket.clone(), lab.ticket(stream, Side::Client)] {
        assert_eq!(lab.open(&intruder).await.end().await.1.code(), UNAUTHENTICATED);
    }
    let exporter_ticket = lab.ticket(stream, Side::Exporter);
    let mut exporter = lab.open(&exporter_ticket).await;
    for intruder in [&ticket, &exporter_ticket] {
        assert_eq!(lab.open(intruder).await.end().await.1.code(), UNAUTHENTICATED);
    }
    // The pair took no notice.
    client.send_data(b"ours").await;
    exporter.expect(&data(b"ours")).await;
}

/// Takes the text of a ticket for its stream, as the tickets of a service that knows no sides.
struct Sideless;

impl TicketCheck for Sideless {
    fn check(&self, bearer: &str) -> Result<StreamTicket, Refusal> {
        Ok(StreamTicket {
            stream_id: StreamId::new(bearer),
            side: None,
            one_use_id: bearer.to_owned(),
            expires_at: Timestamp::now() + SignedDuration::from_mins(30),
        })
    }
}

#[tokio::test]
async fn tickets_without_sides_join_two_peers_and_no_third() {
    let lab = Lab::with_tickets(Config::default(), Arc::new(Sideless), &keys("unused")).await;
    let (mut one, mut other) = (lab.open("s").await, lab.open("s").await);
    one.accepted().await;
    other.accepted().await;
    assert_eq!(lab.open("s").await.end().await.1.code(), UNAUTHENTICATED);
    one.send_data(b"1").await;
    other.expect(&data(b"1")).await;
    assert_eq!(lab.router.stats().bytes_from_unknown, data(b"1").len() as u64);
}

#[tokio::test]
async fn compression_is_refused_with_what_is_spoken() {
    let lab = Lab::start(Config::default()).await;
    let [client, exporter] = lab.tickets();
    let bearer = format!("Bearer {client}");
    let link = lab.link().await;
    let mut peer = link.open_with(headers(&[("authorization", &bearer), ("grpc-encoding", "gzip")])).await;
    assert_eq!(peer.end().await.1.code(), UNIMPLEMENTED);
    assert_eq!(peer.headers()["grpc-accept-encoding"], "identity");
    let plain = headers(&[("authorization", &bearer), ("grpc-encoding", "identity"), ("grpc-accept-encoding", "gzip")]);
    let mut client = link.open_with(plain).await;
    let mut exporter = lab.open(&exporter).await;
    client.send_data(b"plain").await;
    exporter.expect(&data(b"plain")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_half_open_streams_meet_the_limit() {
    const LIMIT: usize = 1_500;
    let config = Config { max_waiting: LIMIT, max_waiting_per_connection: 200, ..Config::default() };
    let lab = Lab::start(config).await;
    // A connection that asks for too much harms itself alone.
    let greedy = lab.link().await;
    let mut kept = Vec::new();
    for _ in 0..200 {
        let mut peer = greedy.open(&lab.tickets()[0]).await;
        peer.accepted().await;
        kept.push(peer);
    }
    for _ in 0..50 {
        assert_eq!(greedy.open(&lab.tickets()[0]).await.end().await.1.code(), RESOURCE_EXHAUSTED);
    }
    let mut links = Vec::new();
    let mut first = None;
    while lab.router.stats().waiting < LIMIT as u64 {
        let link = lab.link().await;
        for _ in 0..100 {
            let [client, exporter] = lab.tickets();
            let mut peer = link.open(&client).await;
            peer.accepted().await;
            kept.push(peer);
            first.get_or_insert((kept.len() - 1, exporter));
        }
        links.push(link);
    }
    let link = lab.link().await;
    for _ in 0..1_000 {
        assert_eq!(link.open(&lab.tickets()[0]).await.end().await.1.code(), RESOURCE_EXHAUSTED);
    }
    // Who is awaited gets in all the same.
    let (index, exporter) = first.expect("some wait");
    let mut exporter = link.open(&exporter).await;
    exporter.send_data(b"in").await;
    kept[index].expect(&data(b"in")).await;
    drop((kept, links, greedy));
    lab.quiet().await;
}

#[tokio::test]
async fn a_full_router_still_lets_partners_in() {
    let lab = Lab::start(Config { max_streams: 1, ..Config::default() }).await;
    let [client, exporter] = lab.tickets();
    let mut client = lab.open(&client).await;
    client.accepted().await;
    assert_eq!(lab.open(&lab.tickets()[0]).await.end().await.1.code(), RESOURCE_EXHAUSTED);
    let mut exporter = lab.open(&exporter).await;
    exporter.accepted().await;
    client.reset(h2::Reason::CANCEL);
    assert_eq!(exporter.end().await.1.code(), 0);
    lab.quiet().await;
    lab.open(&lab.tickets()[0]).await.accepted().await;
}

#[tokio::test]
async fn other_methods_and_contents_are_not_ours() {
    let lab = Lab::start(Config::default()).await;
    let link = lab.link().await;
    let path = "/jumpstarter.v1.RouterService/Stream";
    assert_eq!(link.status(http::Method::GET, path, "application/grpc").await, 405);
    assert_eq!(link.status(http::Method::POST, path, "text/plain").await, 415);
    assert_eq!(link.status(http::Method::POST, path, "application/grpcx").await, 415);
    assert_eq!(link.status(http::Method::POST, path, "application/grpc+proto").await, 200);
    assert_eq!(link.status(http::Method::POST, "/jumpstarter.v1.RouterService/Other", "application/grpc").await, 404);
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let lab = Lab::start(Config::default()).await;
    let mut registry = Registry::default();
    lab.router.register_metrics(&mut registry);
    lab.link().await.open("garbage").await.end().await;
    let (mut client, mut exporter) = lab.pair().await;
    client.send_data(b"12345").await;
    exporter.expect(&data(b"12345")).await;
    client.reset(h2::Reason::CANCEL);
    exporter.end().await;
    lab.quiet().await;
    let mut waiting = lab.open(&lab.tickets()[0]).await;
    waiting.accepted().await;
    until(|| lab.router.stats().waiting == 1).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "jumpstarter_router_streams 1",
        "jumpstarter_router_streams_waiting 1",
        "jumpstarter_router_streams_joined_total 1",
        "jumpstarter_router_streams_ended_total{outcome=\"cut\"} 1",
        "jumpstarter_router_streams_ended_total{outcome=\"complete\"} 0",
        "jumpstarter_router_refusals_total{reason=\"invalid_ticket\"} 1",
        "jumpstarter_router_forwarded_bytes_total{sender=\"client\"} 12",
        "jumpstarter_router_forwarded_bytes_total{sender=\"exporter\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
    }
}
