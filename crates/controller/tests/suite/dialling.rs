//! Dial and Listen meet (protocol.md §4.7, §5.2, §10.3).

use std::{collections::HashSet, time::Duration};

use jumpstarter_auth::Side;
use jumpstarter_protocol::v1::{ExporterStatus, ListenRequest, controller_service_client::ControllerServiceClient};
use tonic::Code;

use crate::support::{FakeClient, FakeExporter, Lab, StatusFeed, exporter::offer, for_exporter, lab::now, soon};

/// A lab in which alice's lease `one` of exporter `dut` is ready; nobody listens yet.
async fn leased(lab: &Lab) -> (FakeExporter, StatusFeed, FakeClient) {
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    exporter.report(ExporterStatus::LeaseReady).await;
    alice.await_ready("one").await;
    (exporter, feed, alice)
}

#[tokio::test]
async fn the_two_halves_get_tickets_of_one_stream_and_different_sides() {
    let lab = Lab::start().await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let mut listening = exporter.listen("one").await;
    let mut streams = HashSet::new();
    for _ in 0..2 {
        let (dialled, offered) = (alice.dial("one").await.unwrap(), offer(&mut listening).await);
        assert_eq!(dialled.router_endpoint, "router.example:8083");
        assert_eq!(offered.router_endpoint, dialled.router_endpoint);
        let client = lab.tickets.verify(&dialled.router_token, now()).unwrap();
        let exporter = lab.tickets.verify(&offered.router_token, now()).unwrap();
        assert_eq!(client.stream_id, exporter.stream_id);
        assert_eq!((client.side, exporter.side), (Some(Side::Client), Some(Side::Exporter)));
        assert_ne!(client.jti, exporter.jti);
        let hook = jiff::SignedDuration::try_from(lab.config.hook_limit).unwrap();
        assert!(exporter.expires_at > now().checked_add(hook).unwrap(), "an exporter keeps it while its hook runs");
        streams.insert(client.stream_id);
    }
    assert_eq!(streams.len(), 2, "each dial is a stream of its own");
}

#[tokio::test]
async fn a_dial_waits_for_the_exporter_to_listen() {
    let lab = Lab::start().await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let listen = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut listening = exporter.listen("one").await;
        offer(&mut listening).await
    };
    let (dialled, offered) = tokio::join!(alice.dial("one"), listen);
    let client = lab.tickets.verify(&dialled.unwrap().router_token, now()).unwrap();
    assert_eq!(client.stream_id, lab.tickets.verify(&offered.router_token, now()).unwrap().stream_id);
}

#[tokio::test]
async fn a_dial_that_nobody_answers_ends_within_what_old_clients_wait() {
    let usual = Lab::start().await.config.limits.listener_wait;
    assert!(usual <= Duration::from_secs(15));
    let lab = Lab::with(|config| config.limits.listener_wait = Duration::from_millis(200)).await;
    let (_exporter, _feed, alice) = leased(&lab).await;
    let refused = alice.dial("one").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn offers_that_were_not_delivered_go_to_the_next_listener_and_a_full_queue_is_said() {
    let lab = Lab::start().await;
    let (exporter, _feed, alice) = leased(&lab).await;
    // A connection that takes a byte of what is sent to it: the first offer is on its way, the rest waits.
    let narrow = lab.endpoint().initial_stream_window_size(1).connect_lazy();
    let request = exporter.identity.request(ListenRequest { lease_name: "one".into(), ..ListenRequest::default() });
    let stuck = soon("Listen", ControllerServiceClient::new(narrow).listen(request)).await.unwrap();
    let mut streams = Vec::new();
    let refused = loop {
        match alice.dial("one").await {
            Ok(dialled) => streams.push(lab.tickets.verify(&dialled.router_token, now()).unwrap().stream_id),
            Err(refused) => break refused,
        }
        assert!(streams.len() < 20, "offers pile up");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(streams.len() >= 8, "{} were taken", streams.len());
    drop(stuck);
    let mut listening = exporter.listen("one").await;
    for stream in &streams {
        let offered = offer(&mut listening).await;
        assert_eq!(lab.tickets.verify(&offered.router_token, now()).unwrap().stream_id, *stream, "in order");
    }
    alice.dial("one").await.unwrap();
}

#[tokio::test]
async fn a_newer_listener_takes_over_and_the_older_one_does_not_end_with_ok() {
    let lab = Lab::start().await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let mut older = exporter.listen("one").await;
    let mut newer = exporter.listen("one").await;
    let ended = soon("the older stream ends", older.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    alice.dial("one").await.unwrap();
    offer(&mut newer).await;
}

#[tokio::test]
async fn dials_that_can_lead_nowhere_are_refused_with_the_words_that_clients_know() {
    let lab = Lab::with(|config| config.limits.session_wait = Duration::from_millis(200)).await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let bob = lab.client("bob").await;
    let refusal = async |client: &FakeClient, lease: &str| {
        let refused = client.dial(lease).await.unwrap_err();
        assert!(!refused.message().to_lowercase().contains("expired"), "{refused}");
        refused
    };

    assert_eq!(refusal(&alice, "").await.code(), Code::InvalidArgument);
    assert_eq!(refusal(&alice, "none").await.code(), Code::NotFound);

    let foreign = refusal(&bob, "one").await;
    assert_eq!(foreign.code(), Code::PermissionDenied);
    assert!(foreign.message().contains("permission denied"));

    bob.create("two", for_exporter("dut")).await.unwrap();
    let waiting = refusal(&bob, "two").await;
    assert_eq!(waiting.code(), Code::FailedPrecondition);
    assert!(!waiting.message().contains("not ready"), "waiting inside Dial would not help: {waiting}");

    let _listening = exporter.listen("one").await;
    exporter.report(ExporterStatus::Available).await;
    let over = refusal(&alice, "one").await;
    assert_eq!(over.code(), Code::FailedPrecondition);
    assert!(over.message().contains("not ready"), "{over}");

    alice.delete("one").await.unwrap();
    let ended = refusal(&alice, "one").await;
    assert_eq!(ended.code(), Code::FailedPrecondition);
    assert!(!ended.message().contains("not ready"), "{ended}");
}

#[tokio::test]
async fn without_a_router_a_dial_says_so() {
    let lab = Lab::with(|config| config.live.change(|live| live.routers.clear())).await;
    let (exporter, _feed, alice) = leased(&lab).await;
    let _listening = exporter.listen("one").await;
    assert_eq!(alice.dial("one").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn an_exporter_listens_only_for_leases_that_it_holds() {
    let lab = Lab::start().await;
    let (exporter, _feed, _alice) = leased(&lab).await;
    let (other, _other_feed) = lab.available("other").await;
    assert_eq!(exporter.try_listen("").await.err().unwrap().code(), Code::InvalidArgument);
    assert_eq!(exporter.try_listen("none").await.err().unwrap().code(), Code::NotFound);
    let foreign = other.try_listen("one").await.err().unwrap();
    assert_eq!(foreign.code(), Code::PermissionDenied);
    assert!(foreign.message().contains("permission denied"));
}

#[tokio::test]
async fn a_dial_that_waits_ends_with_the_lease() {
    let lab = Lab::start().await;
    let (_exporter, _feed, alice) = leased(&lab).await;
    let (dialled, deleted) = tokio::join!(alice.dial("one"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        alice.delete("one").await
    });
    deleted.unwrap();
    assert_eq!(dialled.unwrap_err().code(), Code::FailedPrecondition);
}
