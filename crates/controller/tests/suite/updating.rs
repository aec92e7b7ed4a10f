//! UpdateLease and DeleteLease (protocol.md §1.8, §10.3 row 12; kubernetes.md §4.3, §4.6).

use jumpstarter_protocol::client::v1::Lease;
use serde_json::json;
use tonic::{Code, Status};

use crate::support::{
    FakeClient, Lab,
    client::{in_seconds, path, reason, seconds},
    for_exporter,
};

/// A lab in which alice's lease `running` holds `dut`, and `waiting` and `scheduled` wait.
async fn three_leases() -> (Lab, FakeClient, impl Drop) {
    let lab = Lab::start().await;
    let (exporter, feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("running", for_exporter("dut")).await.unwrap();
    alice.create("waiting", for_exporter("dut")).await.unwrap();
    // Of another device: what is reserved on `dut` would be in the way of changes there.
    lab.exporter("spare", &[("board", "spare")]).await;
    let begin = Lease { begin_time: Some(in_seconds(600)), ..for_exporter("spare") };
    alice.create("scheduled", begin).await.unwrap();
    alice.await_ready("running").await;
    (lab, alice, Keep((exporter, feed)))
}

struct Keep<T>(T);

impl<T> Drop for Keep<T> {
    fn drop(&mut self) {
        let _ = &self.0;
    }
}

fn code(result: &Result<Lease, Status>) -> Code {
    result.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

fn empty() -> Lease {
    Lease::default()
}

#[tokio::test]
async fn each_time_can_be_changed_alone_and_the_rest_follows() {
    let (_lab, alice, _keep) = three_leases().await;

    let longer = Lease { duration: Some(seconds(7200)), ..empty() };
    let updated = alice.update("running", &["duration"], longer.clone()).await.unwrap();
    assert_eq!(updated.duration, Some(seconds(7200)));
    assert_eq!((updated.effective_end_time, updated.end_time), (None, None));

    let begin = updated.effective_begin_time.unwrap().seconds;
    let end = Lease { end_time: Some(in_seconds(1000)), ..empty() };
    let updated = alice.update("running", &["end_time"], end.clone()).await.unwrap();
    assert_eq!(updated.end_time, end.end_time);
    assert_eq!(updated.duration.unwrap().seconds, end.end_time.unwrap().seconds - begin);
    assert_eq!(updated.effective_end_time, None, "the planned end is not the end");

    let updated = alice.update("scheduled", &["duration"], longer).await.unwrap();
    assert_eq!(updated.duration, Some(seconds(7200)));
    let later = Lease { begin_time: Some(in_seconds(1200)), ..empty() };
    let updated = alice.update("scheduled", &["begin_time"], later.clone()).await.unwrap();
    assert_eq!((updated.begin_time, updated.duration), (later.begin_time, Some(seconds(7200))));
    let end = Lease { end_time: Some(in_seconds(1800)), ..empty() };
    let updated = alice.update("scheduled", &["end_time"], end.clone()).await.unwrap();
    assert_eq!((updated.begin_time, updated.end_time), (later.begin_time, end.end_time));

    // A begin in the future takes a lease that waits out of the queue.
    let updated = alice.update("waiting", &["begin_time"], later.clone()).await.unwrap();
    assert_eq!(updated.begin_time, later.begin_time);
    let now = Lease { begin_time: Some(in_seconds(-1)), ..empty() };
    alice.update("waiting", &["begin_time"], now).await.unwrap();
}

#[tokio::test]
async fn a_begin_cannot_move_once_an_exporter_is_assigned() {
    let (_lab, alice, _keep) = three_leases().await;
    let begin = Lease { begin_time: Some(in_seconds(60)), ..empty() };
    let refused = alice.update("running", &["begin_time"], begin.clone()).await;
    assert_eq!(code(&refused), Code::FailedPrecondition, "{refused:?}");
    let both = Lease { duration: Some(seconds(60)), ..begin };
    let refused = alice.update("running", &[], both).await;
    assert_eq!(code(&refused), Code::FailedPrecondition, "{refused:?}");
    assert_eq!(alice.get("running").await.unwrap().duration, Some(seconds(3600)), "nothing of it was done");
}

#[tokio::test]
async fn only_the_fields_of_the_mask_change() {
    let (_lab, alice, _keep) = three_leases().await;
    let all = Lease {
        duration: Some(seconds(7200)),
        begin_time: Some(in_seconds(60)),
        client: Some(path("clients", "nobody")),
        selector: "board=other".into(),
        tags: [("a".to_owned(), "b".to_owned())].into(),
        ..empty()
    };
    let updated = alice.update("running", &["duration"], all).await.unwrap();
    assert_eq!(updated.duration, Some(seconds(7200)));
    assert_eq!((updated.begin_time, updated.selector.as_str()), (None, "board=dut"));
    assert_eq!(updated.client.as_deref(), Some("namespaces/lab/clients/alice"));
    assert!(updated.tags.is_empty());
    let nothing = alice.update("running", &[], empty()).await.unwrap();
    assert_eq!(nothing.duration, Some(seconds(7200)), "an empty update changes nothing");
}

#[tokio::test]
async fn updates_that_make_no_sense_are_refused_and_change_nothing() {
    let (lab, alice, _keep) = three_leases().await;
    let bob = lab.client("bob").await;
    let before = lab.lease("running").await.spec;
    let duration = |seconds, nanos| Lease { duration: Some(prost_types::Duration { seconds, nanos }), ..empty() };
    for (what, mask, lease, expected) in [
        ("unknown field", &["selector"][..], empty(), Code::InvalidArgument),
        ("absent field", &["duration"], empty(), Code::InvalidArgument),
        ("zero", &["duration"], duration(0, 0), Code::InvalidArgument),
        ("negative", &["duration"], duration(-5, 0), Code::InvalidArgument),
        ("absurd", &["duration"], duration(i64::MAX, 0), Code::InvalidArgument),
        ("too long", &["duration"], duration(100 * 365 * 24 * 3600, 0), Code::InvalidArgument),
        (
            "end before begin",
            &["end_time"],
            Lease { end_time: Some(in_seconds(-100)), ..empty() },
            Code::InvalidArgument,
        ),
        (
            "end out of range",
            &["end_time"],
            Lease { end_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), ..empty() },
            Code::InvalidArgument,
        ),
        ("malformed client", &["client"], Lease { client: Some("bob".into()), ..empty() }, Code::InvalidArgument),
        ("unknown client", &["client"], Lease { client: Some(path("clients", "nobody")), ..empty() }, Code::NotFound),
        (
            "foreign client",
            &["client"],
            Lease { client: Some("namespaces/other/clients/bob".into()), ..empty() },
            Code::PermissionDenied,
        ),
    ] {
        let refused = alice.update("running", mask, lease).await;
        assert_eq!(code(&refused), expected, "{what}: {refused:?}");
    }
    assert_eq!(lab.lease("running").await.spec, before);

    let longer = || Lease { duration: Some(seconds(60)), ..empty() };
    let foreign = bob.update("running", &["duration"], longer()).await.unwrap_err();
    assert_eq!(foreign.code(), Code::PermissionDenied);
    assert!(foreign.message().contains("permission denied"));
    assert_eq!(code(&alice.update("none", &["duration"], longer()).await), Code::NotFound);
    alice.delete("running").await.unwrap();
    assert_eq!(code(&alice.update("running", &["duration"], longer()).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_transfer_needs_an_exporter_and_hands_everything_over() {
    let (lab, alice, _keep) = three_leases().await;
    let bob = lab.client("bob").await;
    let to_bob = || Lease { client: Some(path("clients", "bob")), ..empty() };
    assert_eq!(code(&alice.update("waiting", &["client"], to_bob()).await), Code::FailedPrecondition);
    let given = alice.update("running", &["client"], to_bob()).await.unwrap();
    assert_eq!(given.client.as_deref(), Some("namespaces/lab/clients/bob"));
    assert_eq!(given.exporter.as_deref(), Some("namespaces/lab/exporters/dut"));
    let lost = alice.dial("running").await.unwrap_err();
    assert!(lost.message().contains("permission denied"), "{lost}");
    assert_eq!(alice.delete("running").await.unwrap_err().code(), Code::PermissionDenied);
    let again = Lease { client: Some(path("clients", "bob")), ..empty() };
    bob.update("running", &["client"], again).await.unwrap();
    bob.delete("running").await.unwrap();
}

#[tokio::test]
async fn policies_hold_for_extensions_and_transfers() {
    let lab = Lab::start().await;
    let (_exporter, _feed) = lab.available("dut").await;
    let team = |name: &str, maximum: &str| {
        json!({"priority": 1, "maximumDuration": maximum,
               "from": [{"clientSelector": {"matchLabels": {"team": name}}}]})
    };
    let policies = json!({
        "exporterSelector": {"matchLabels": {"board": "dut"}},
        "policies": [team("long", "2h"), team("short", "30m")],
    });
    lab.policy("limits", policies).await;
    let alice = lab.labelled_client("alice", &[("team", "long")]).await;
    for (name, labels) in [("bob", &[("team", "short")][..]), ("carol", &[]), ("dave", &[("team", "long")])] {
        lab.labelled_client(name, labels).await;
    }
    alice.create("one", for_exporter("dut")).await.unwrap();
    alice.await_ready("one").await;

    let extend = |hours: i64| Lease { duration: Some(seconds(hours * 3600)), ..empty() };
    assert_eq!(code(&alice.update("one", &["duration"], extend(3)).await), Code::FailedPrecondition);
    let end = Lease { end_time: Some(in_seconds(3 * 3600)), ..empty() };
    assert_eq!(code(&alice.update("one", &["end_time"], end).await), Code::FailedPrecondition);
    assert_eq!(code(&alice.update("one", &["duration"], extend(2)).await), Code::Ok);
    for (client, expected) in
        [("bob", Code::FailedPrecondition), ("carol", Code::FailedPrecondition), ("dave", Code::Ok)]
    {
        let to = Lease { client: Some(path("clients", client)), ..empty() };
        let answer = alice.update("one", &["client"], to).await;
        assert_eq!(code(&answer), expected, "{client}: {answer:?}");
    }
}

#[tokio::test]
async fn a_lease_is_given_back_once_and_by_its_owner() {
    let (lab, alice, _keep) = three_leases().await;
    let bob = lab.client("bob").await;
    let foreign = bob.delete("running").await.unwrap_err();
    assert_eq!(foreign.code(), Code::PermissionDenied);
    assert!(foreign.message().contains("permission denied"));
    assert_eq!(alice.delete("none").await.unwrap_err().code(), Code::NotFound);
    for lease in ["running", "waiting", "scheduled"] {
        alice.delete(lease).await.unwrap();
        assert_eq!(alice.delete(lease).await.unwrap_err().code(), Code::FailedPrecondition, "{lease}");
        assert_eq!(reason(&alice.await_end(lease).await, "Ready"), "Released", "{lease}");
    }
    assert_eq!(alice.delete("running").await.unwrap_err().code(), Code::FailedPrecondition);
}
