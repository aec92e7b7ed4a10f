//! Ways around the router: who is told of them, and what.

use jumpstarter_protocol::v1::{DialResponse, DirectListener, ExporterStatus, ListenResponse};
use jumpstarter_transport::direct::{Digest, Ticket};
use tonic::Streaming;

use crate::support::{FakeClient, FakeExporter, Lab, StatusFeed, exporter::offer, for_exporter, lab::now};

fn door(endpoints: &[&str]) -> DirectListener {
    DirectListener {
        endpoints: endpoints.iter().map(|text| (*text).to_owned()).collect(),
        certificate_sha256: vec![7; 32].into(),
    }
}

async fn leased(lab: &Lab) -> (FakeExporter, StatusFeed, FakeClient) {
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    exporter.report(ExporterStatus::LeaseReady).await;
    alice.await_ready("one").await;
    (exporter, feed, alice)
}

/// The exporter's half of a dial; what was offered to streams before comes again first.
async fn offer_of(lab: &Lab, dialled: &DialResponse, listening: &mut Streaming<ListenResponse>) -> ListenResponse {
    let stream = |token: &str| lab.tickets.verify(token, now()).unwrap().stream_id;
    loop {
        let offered = offer(listening).await;
        if stream(&offered.router_token) == stream(&dialled.router_token) {
            return offered;
        }
    }
}

#[tokio::test]
async fn both_sides_are_told_of_one_ticket_and_only_the_client_gets_it() {
    let lab = Lab::start().await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let mut listening = exporter.listen_with_door("one", door(&["10.0.0.1:7000", "[fd00::1]:7000"])).await;
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let (dialled, offered) = (alice.dial_directly("one").await.unwrap(), offer(&mut listening).await);
        let (path, invitation) = (dialled.direct.unwrap(), offered.direct.unwrap());
        assert_eq!(path.endpoints, ["10.0.0.1:7000", "[fd00::1]:7000"]);
        assert_eq!(path.certificate_sha256, vec![7; 32]);
        let ticket = Ticket::from_bytes(&path.ticket).unwrap();
        assert_eq!(Digest::from_bytes(&invitation.ticket_sha256), Some(ticket.digest()));
        assert!((1..=60).contains(&invitation.lifetime_seconds));
        // The router is still there for both.
        assert!(!dialled.router_token.is_empty() && !offered.router_token.is_empty());
        tickets.push(ticket.digest());
    }
    assert_ne!(tickets[0], tickets[1]);

    // A client that knows nothing of it, and an exporter that then is not bothered with it.
    let (dialled, offered) = (alice.dial("one").await.unwrap(), offer(&mut listening).await);
    assert_eq!((dialled.direct, offered.direct), (None, None));

    // The exporter of today listens no more, and the one that came after it has no door.
    let mut without = exporter.listen("one").await;
    let dialled = alice.dial_directly("one").await.unwrap();
    let offered = offer_of(&lab, &dialled, &mut without).await;
    assert_eq!((dialled.direct, offered.direct), (None, None));
}

#[tokio::test]
async fn what_an_exporter_announces_must_make_sense_and_otherwise_only_the_router_is_told() {
    let lab = Lab::start().await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let many: Vec<String> = (1..=9).map(|n| format!("lab:{n}")).collect();
    let long = format!("{}:1", "a".repeat(300));
    let doors = [
        door(&[]),
        door(&["lab:0"]),
        door(&["http://lab:1"]),
        door(&[&long]),
        door(&many.iter().map(String::as_str).collect::<Vec<_>>()),
        DirectListener { certificate_sha256: vec![7; 31].into(), ..door(&["lab:1"]) },
    ];
    for door in doors {
        let shown = format!("{door:?}");
        let mut listening = exporter.listen_with_door("one", door).await;
        let dialled = alice.dial_directly("one").await.unwrap();
        assert_eq!(dialled.direct, None, "{shown}");
        assert_eq!(offer_of(&lab, &dialled, &mut listening).await.direct, None, "{shown}");
    }
}

#[tokio::test]
async fn the_operator_can_do_without() {
    let lab = Lab::with(|config| config.direct_paths = false).await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let mut listening = exporter.listen_with_door("one", door(&["lab:1"])).await;
    assert_eq!(alice.dial_directly("one").await.unwrap().direct, None);
    assert_eq!(offer(&mut listening).await.direct, None);
}
