//! CreateLease waits for the first decision, GetLease for news (protocol.md §1.8, §5.1).

use std::time::Duration;

use jumpstarter_protocol::client::v1::{GetLeaseRequest, Lease};
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::support::{
    FakeClient, Lab,
    client::{condition, in_seconds, is_true, limited, path, reason, seconds},
    for_exporter, soon, wanted,
};

#[tokio::test]
async fn the_answer_to_a_create_says_why_the_lease_waits_or_is_refused() {
    let lab = Lab::start().await;
    let (_exporter, _feed) = lab.available("busy").await;
    lab.exporter("away", &[("board", "away")]).await;
    let alice = lab.client("alice").await;
    let first = alice.create("first", for_exporter("busy")).await.unwrap();
    assert!(first.exporter.is_some(), "{first:?}");

    for (id, lease, type_, expected, text) in [
        ("busy", for_exporter("busy"), "Pending", "NotAvailable", "but all of them are already leased"),
        ("away", for_exporter("away"), "Pending", "Offline", "none of them are online"),
        ("later", Lease { begin_time: Some(in_seconds(600)), ..for_exporter("away") }, "Pending", "Scheduled", ""),
        ("none", wanted("board=none"), "Unsatisfiable", "NoAccess", "none of them are approved by any policy"),
        (
            "pinned",
            Lease { exporter_name: Some("none".into()), ..wanted("") },
            "Unsatisfiable",
            "ExporterNotFound",
            "does not exist",
        ),
        (
            "mismatch",
            Lease { exporter_name: Some("away".into()), ..wanted("board=busy") },
            "Unsatisfiable",
            "SelectorMismatch",
            "",
        ),
    ] {
        let created = alice.create(id, lease).await.unwrap();
        assert_eq!(reason(&created, type_), expected, "{id}: {:?}", created.conditions);
        assert!(condition(&created, type_).unwrap().message().contains(text), "{id}");
        let refused = type_ == "Unsatisfiable";
        assert_eq!(created.effective_end_time.is_some(), refused, "{id}");
        assert_eq!(condition(&created, "Ready"), None, "{id}");
        assert_eq!(created.client.as_deref(), Some("namespaces/lab/clients/alice"), "{id}");
        assert!(created.duration.is_some(), "{id}");
    }
}

#[tokio::test]
async fn the_queue_is_told_with_a_reason_for_each_candidate() {
    let lab = Lab::start().await;
    let (_exporter, _feed) = lab.available("busy").await;
    lab.exporter("away", &[("board", "busy")]).await;
    let alice = lab.client("alice").await;
    let first = alice.create("a", for_exporter("busy")).await.unwrap();
    assert_eq!(first.queue, None, "it does not wait");
    for (position, id) in [(1, "b"), (2, "c")] {
        let queue = alice.create(id, for_exporter("busy")).await.unwrap().queue.unwrap();
        assert_eq!((queue.position, queue.reason.as_str()), (position, "NotAvailable"));
        let mut candidates: Vec<_> =
            queue.candidates.iter().map(|one| (one.exporter.as_str(), one.reason.as_str())).collect();
        candidates.sort_unstable();
        assert_eq!(candidates, [("away", "Offline"), ("busy", "Leased")]);
    }
}

#[tokio::test]
async fn the_selector_comes_back_as_it_was_written() {
    let lab = Lab::start().await;
    lab.exporter("away", &[("a", "1"), ("b", "2")]).await;
    let alice = lab.client("alice").await;
    for (id, text, shown) in [("x", "b=2,a=1", "b=2,a=1"), ("y", " b in (2), a == 1", "b in (2), a == 1")] {
        assert_eq!(alice.create(id, wanted(text)).await.unwrap().selector, shown);
        assert_eq!(alice.get(id).await.unwrap().selector, shown);
    }
    let pinned = Lease { exporter_name: Some("away".into()), ..wanted("") };
    assert_eq!(alice.create("z", pinned).await.unwrap().selector, "<none>");
}

#[tokio::test]
async fn the_same_request_again_gives_the_same_lease_and_another_is_refused() {
    let lab = Lab::start().await;
    lab.exporter("away", &[("board", "away")]).await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    let asked = Lease { tags: [("team".to_owned(), "x".to_owned())].into(), ..for_exporter("away") };
    // At once, as a client does whose connection broke between question and answer.
    let (one, two) = tokio::join!(alice.create("id", asked.clone()), alice.create("id", asked.clone()));
    assert_eq!(one.unwrap().name, two.unwrap().name);
    let code = async |client: &FakeClient, lease| client.create("id", lease).await.map_err(|error| error.code()).err();
    assert_eq!(code(&alice, asked.clone()).await, None);
    assert_eq!(code(&bob, asked.clone()).await, Some(Code::AlreadyExists), "another owner");
    for other in [
        Lease { duration: Some(seconds(60)), ..asked.clone() },
        Lease { tags: [].into(), ..asked.clone() },
        Lease { selector: "board=other".into(), ..asked.clone() },
        Lease { begin_time: Some(in_seconds(60)), ..asked.clone() },
    ] {
        assert_eq!(code(&alice, other).await, Some(Code::AlreadyExists), "another content");
    }
    alice.delete("id").await.unwrap();
    assert_eq!(code(&alice, asked).await, Some(Code::AlreadyExists), "a lease that was given back is not that lease");
    assert_eq!(lab.lease("id").await.spec.client_ref.name, "alice");
}

#[tokio::test]
async fn without_an_id_the_service_makes_a_new_one_each_time() {
    let lab = Lab::start().await;
    lab.exporter("away", &[("board", "away")]).await;
    let alice = lab.client("alice").await;
    let (one, two) = (
        alice.create("", for_exporter("away")).await.unwrap().name,
        alice.create("", for_exporter("away")).await.unwrap().name,
    );
    assert_ne!(one, two);
    let id: uuid::Uuid = one.strip_prefix("namespaces/lab/leases/").unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
}

/// A lab whose exporter is away, so that alice's lease `one` waits for it; looks are held for ten minutes.
async fn waiting() -> (Lab, FakeClient) {
    let lab = Lab::with(|config| config.limits.repeated_look = Duration::from_mins(10)).await;
    lab.exporter("away", &[("board", "away")]).await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("away")).await.unwrap();
    (lab, alice)
}

#[tokio::test]
async fn a_first_look_answers_at_once_and_a_repeated_one_when_there_is_news() {
    let (lab, alice) = waiting().await;
    let first = alice.get("one").await.unwrap();
    let held = alice.get("one");
    tokio::pin!(held);
    assert!(timeout(Duration::from_millis(200), &mut held).await.is_err(), "nothing is new");

    // Other programs of the same client and other clients have not been told.
    let program = FakeClient::new(&lab, alice.identity.clone());
    assert_eq!(program.get("one").await.unwrap().conditions, first.conditions);
    lab.client("bob").await.get("one").await.unwrap();

    let exporter = FakeExporterOf(&lab).online("away").await;
    let news = soon("the held look", held).await.unwrap();
    assert_ne!(news.conditions, first.conditions);
    drop(exporter);
}

/// Brings an exporter online that exists already.
struct FakeExporterOf<'a>(&'a Lab);

impl FakeExporterOf<'_> {
    async fn online(&self, name: &str) -> crate::support::StatusFeed {
        let identity = self.0.exporter_identity(name).await;
        let exporter = crate::support::FakeExporter::new(self.0, identity);
        exporter.register().await;
        exporter.status().await
    }
}

#[tokio::test]
async fn a_held_look_answers_before_the_callers_own_deadline() {
    let (_lab, alice) = waiting().await;
    alice.get("one").await.unwrap();
    let started = Instant::now();
    let request = alice.identity.request(GetLeaseRequest { name: path("leases", "one") });
    let answer = alice.stub.clone().get_lease(limited(request, Duration::from_secs(5))).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert!(started.elapsed() > Duration::from_secs(1), "it was held");
}

#[tokio::test]
async fn a_shutdown_lets_held_looks_go_with_what_is_known() {
    let (lab, alice) = waiting().await;
    alice.get("one").await.unwrap();
    let (held, ()) = tokio::join!(alice.get("one"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lab.stop_streams();
    });
    assert!(!is_true(&held.unwrap(), "Ready"));
}

#[tokio::test]
async fn a_look_at_a_lease_that_is_ready_or_over_is_never_held() {
    let lab = Lab::with(|config| config.limits.repeated_look = Duration::from_mins(10)).await;
    let (_exporter, _feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    for _ in 0..3 {
        alice.await_ready("one").await;
    }
    alice.delete("one").await.unwrap();
    for _ in 0..3 {
        alice.await_end("one").await;
    }
}
