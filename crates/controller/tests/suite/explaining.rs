//! `ExplainLease`: why a lease waits, and until when.

use jumpstarter_protocol::client::v1::{ExplainLeaseRequest, ExplainLeaseResponse, Lease};
use tonic::{Code, Status};

use crate::support::{
    FakeClient, Lab,
    client::{in_seconds, path, seconds},
    wanted,
};

async fn explain(client: &FakeClient, id: &str, selector: Option<&str>) -> Result<ExplainLeaseResponse, Status> {
    let selector = selector.map(str::to_owned);
    client.explain(ExplainLeaseRequest { name: path("leases", id), selector, duration: None }).await
}

#[tokio::test]
async fn whoever_waits_is_told_who_is_ahead_and_until_when() {
    let lab = Lab::start().await;
    let (rig, mut feed) = lab.available("rig").await;
    lab.exporter("other", &[("board", "y")]).await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    let asked = |secs| Lease { duration: Some(seconds(secs)), ..wanted("board=rig") };
    alice.create("held", asked(600)).await.unwrap();
    let _ = feed.leased().await;
    let _listening = rig.serve("held").await;
    alice.await_ready("held").await;
    alice.create("first", asked(60)).await.unwrap();
    bob.create("second", asked(60)).await.unwrap();

    let told = explain(&bob, "second", Some("board=y")).await.unwrap();
    assert_eq!((told.standing.as_str(), told.reason.as_str()), ("Waiting", "NotAvailable"));
    let queue = told.lease.as_ref().unwrap().queue.as_ref().unwrap();
    assert_eq!((queue.position, queue.candidates[0].reason.as_str()), (2, "Leased"));
    assert_eq!(told.ahead.len(), 1);
    assert_eq!(
        (told.ahead[0].lease.as_str(), told.ahead[0].client.as_str()),
        (path("leases", "first").as_str(), path("clients", "alice").as_str(),)
    );
    let end = alice.get("held").await.unwrap().effective_begin_time.unwrap().seconds + 600;
    let start = told.start.unwrap();
    assert_eq!((start.likely.unwrap().seconds, start.latest.unwrap().seconds), (end + 60, end + 60));
    assert_eq!(start.learned_from, 0);
    let asked = &told.alternatives[0];
    assert!(asked.asked && asked.selector == "board=y" && asked.start.is_none(), "it is away: {asked:?}");

    // Anybody may ask, and a lease that does not wait has an answer as well.
    let held = explain(&bob, "held", None).await.unwrap();
    assert_eq!((held.standing.as_str(), held.start, held.ahead.len()), ("Ready", None, 0));
    bob.delete("second").await.unwrap();
    bob.await_end("second").await;
    assert_eq!(explain(&bob, "second", None).await.unwrap().standing, "Ended");
    alice.create("later", Lease { begin_time: Some(in_seconds(3600)), ..wanted("board=rig") }).await.unwrap();
    let later = explain(&alice, "later", None).await.unwrap();
    assert_eq!(later.standing, "Scheduled");
    assert!(later.start.is_some());
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_with_the_reason() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    lab.exporter("rig", &[("board", "rig")]).await;
    alice.create("one", wanted("board=rig")).await.unwrap();
    let refused = |answer: Result<ExplainLeaseResponse, Status>| {
        let status = answer.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    assert_eq!(refused(explain(&alice, "none", None).await).0, Code::NotFound);
    for (selector, text) in [("", "empty"), ("board in ()", "board"), ("a=1,a=2", "cannot be both")] {
        let (code, message) = refused(explain(&alice, "one", Some(selector)).await);
        assert!(code == Code::InvalidArgument && message.contains(text), "{selector}: {message}");
    }
    for span in [seconds(0), seconds(-5), prost_types::Duration { seconds: i64::MAX, nanos: 0 }] {
        let request = ExplainLeaseRequest { name: path("leases", "one"), selector: None, duration: Some(span) };
        assert_eq!(refused(alice.explain(request).await).0, Code::InvalidArgument, "{span:?}");
    }
    let elsewhere = ExplainLeaseRequest { name: "namespaces/other/leases/one".to_owned(), ..Default::default() };
    assert_eq!(refused(alice.explain(elsewhere).await).0, Code::PermissionDenied);
}
