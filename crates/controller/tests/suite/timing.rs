//! Begin, end, and changes from outside while leases run (kubernetes.md §4.5, §4.6).

use std::time::Duration;

use jumpstarter_model::{ExporterAccessPolicy, Lease as StoredLease};
use jumpstarter_protocol::{client::v1::Lease, v1::ExporterStatus};
use jumpstarter_store::{Kind, Object, Store as _, StoreError, Write};
use serde_json::json;
use tonic::Code;

use crate::support::{
    Lab,
    client::{condition, in_seconds, is_true, reason, seconds},
    eventually, for_exporter,
    lab::{NAMESPACE, now},
};

#[tokio::test]
async fn a_lease_ends_at_its_second_and_says_so_without_the_word_of_tokens() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let asked = Lease { duration: Some(seconds(2)), ..for_exporter("dut") };
    alice.create("one", asked).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    feed.free().await;
    let ended = alice.await_end("one").await;
    let stored = lab.lease("one").await.status.unwrap();
    let (begin, end) = (stored.begin_time.unwrap().0, stored.end_time.unwrap().0);
    assert!(end.as_second() >= begin.as_second() + 2, "from {begin} to {end}");
    let ready = condition(&ended, "Ready").unwrap();
    assert_eq!((ready.status(), ready.reason()), ("False", "Expired"));
    assert!(!ready.message().to_lowercase().contains("expired"), "{}", ready.message());
    assert_eq!(ended.effective_duration.unwrap().seconds, end.duration_since(begin).as_secs());
    let labels = lab.lease("one").await.metadata.labels.unwrap();
    assert_eq!(labels.get("jumpstarter.dev/lease-ended").map(String::as_str), Some("true"));
}

#[tokio::test]
async fn a_scheduled_lease_begins_at_its_time() {
    let lab = Lab::start().await;
    let (_exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let begin = in_seconds(2);
    let asked = Lease { begin_time: Some(begin), ..for_exporter("dut") };
    let created = alice.create("one", asked).await.unwrap();
    assert_eq!((reason(&created, "Pending"), &created.exporter), ("Scheduled", &None));
    feed.leased().await;
    assert!(now().as_second() >= begin.seconds);
    let ready = alice.await_ready("one").await;
    assert!(ready.effective_begin_time.unwrap().seconds >= begin.seconds);
}

#[tokio::test]
async fn a_lease_whose_time_passes_while_it_waits_ends_without_ever_beginning() {
    let lab = Lab::start().await;
    lab.exporter("away", &[("board", "away")]).await;
    let alice = lab.client("alice").await;
    let asked = Lease { duration: Some(seconds(2)), end_time: Some(in_seconds(2)), ..for_exporter("away") };
    alice.create("one", asked).await.unwrap();
    let ended = alice.await_end("one").await;
    assert_eq!(reason(&ended, "Ready"), "Expired");
    assert_eq!((ended.effective_begin_time, ended.exporter), (None, None));
}

#[tokio::test]
async fn a_running_lease_can_be_extended_and_shortened() {
    let lab = Lab::start().await;
    let (_exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let asked = |duration| Lease { duration: Some(seconds(duration)), ..Lease::default() };
    let created = alice.create("one", Lease { selector: "board=dut".into(), ..asked(3) }).await.unwrap();
    feed.leased().await;
    alice.update("one", &["duration"], asked(3600)).await.unwrap();
    let first_end = created.effective_begin_time.unwrap().seconds + 3;
    eventually("the first end passes", async || (now().as_second() > first_end).then_some(())).await;
    assert!(alice.get("one").await.unwrap().effective_end_time.is_none());
    alice.update("one", &["duration"], asked(1)).await.unwrap();
    feed.free().await;
    assert_eq!(reason(&alice.await_end("one").await, "Ready"), "Expired");
}

#[tokio::test]
async fn a_lease_whose_time_passed_while_the_service_was_down_ends_at_the_start() {
    let mut lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", Lease { duration: Some(seconds(2)), ..for_exporter("dut") }).await.unwrap();
    feed.leased().await;
    let end = now().as_second() + 2;
    lab.stop().await;
    eventually("the end passes", async || (now().as_second() > end).then_some(())).await;
    lab.run().await;
    alice.await_end("one").await;
    let mut feed = exporter.status().await;
    feed.free().await;
}

#[tokio::test]
async fn a_policy_that_comes_later_makes_a_waiting_lease_wait_and_no_running_one_end() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    bob.create("two", for_exporter("dut")).await.unwrap();
    let nobody = json!({
        "exporterSelector": {},
        "policies": [{"description": "staff only", "from": [{"clientSelector": {"matchLabels": {"team": "none"}}}]}],
    });
    lab.policy("closed", nobody).await;
    let waits = eventually("the wait has another reason", async || {
        // Alice's looks at bob's lease are never held.
        let lease = alice.get("two").await.unwrap();
        (reason(&lease, "Pending") == "NoAccess").then_some(lease)
    })
    .await;
    assert!(condition(&waits, "Pending").unwrap().message().contains("staff only"));
    assert!(waits.effective_end_time.is_none());
    assert!(alice.get("one").await.unwrap().effective_end_time.is_none());
    alice.delete("one").await.unwrap();
    feed.free().await;
    exporter.report(ExporterStatus::Available).await;
    let refused = bob.create("three", for_exporter("dut")).await.unwrap();
    assert_eq!(reason(&refused, "Unsatisfiable"), "NoAccess");
    lab.delete(Kind::ExporterAccessPolicy, "closed").await;
    assert_eq!(feed.leased().await.0, "two");
    assert_eq!(lab.get::<ExporterAccessPolicy>("closed").await, None);
}

#[tokio::test]
async fn an_exporter_that_is_deleted_takes_its_lease_with_it() {
    let lab = Lab::start().await;
    let (_exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    lab.delete(Kind::Exporter, "dut").await;
    eventually("the lease is over", async || match alice.get("one").await {
        Err(gone) => (gone.code() == Code::NotFound).then_some(()),
        Ok(lease) => lease.effective_end_time.map(drop),
    })
    .await;
    let refused = alice.dial("one").await.unwrap_err();
    assert!([Code::NotFound, Code::FailedPrecondition].contains(&refused.code()), "{refused}");
    // The name may be used again at once.
    let (_again, mut feed) = lab.available("dut").await;
    alice.create("two", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await.0, "two");
}

#[tokio::test]
async fn a_disabled_exporter_is_not_given_out_and_keeps_the_lease_that_it_has() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    alice.await_ready("one").await;
    lab.edit::<jumpstarter_model::Exporter>("dut", |exporter| exporter.spec.enabled = Some(false)).await;
    alice.dial("one").await.unwrap();
    alice.create("two", for_exporter("dut")).await.unwrap();
    alice.delete("one").await.unwrap();
    feed.free().await;
    exporter.report(ExporterStatus::Available).await;
    eventually("the wait has its reason", async || {
        let lease = alice.create("two", for_exporter("dut")).await.unwrap();
        (reason(&lease, "Pending") == "AllDisabled").then_some(())
    })
    .await;
    let pinned = Lease { exporter_name: Some("dut".into()), ..for_exporter("dut") };
    let refused = alice.create("three", pinned.clone()).await.unwrap();
    assert_eq!(reason(&refused, "Unsatisfiable"), "ExporterDisabled");
    let allowed = alice.create("four", Lease { allow_disabled: true, ..pinned }).await.unwrap();
    assert!(allowed.exporter.is_some(), "{:?}", allowed.conditions);
}

#[tokio::test]
async fn ended_leases_go_after_their_time_and_no_others() {
    let lab = Lab::with(|config| config.lease_retention = Duration::from_secs(1)).await;
    lab.exporter("away", &[("board", "away")]).await;
    let alice = lab.client("alice").await;
    for id in ["one", "two"] {
        alice.create(id, for_exporter("away")).await.unwrap();
    }
    alice.delete("one").await.unwrap();
    eventually("the ended lease is removed", async || lab.get::<StoredLease>("one").await.is_none().then_some(()))
        .await;
    assert_eq!(alice.get("one").await.unwrap_err().code(), Code::NotFound);
    assert!(!lab.lease("two").await.is_ended());
}

#[tokio::test]
async fn an_object_that_cannot_be_read_hurts_nobody_else() {
    let mut lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    // Not within the hour that the others ask for: what it reserves would be in their way.
    alice.create("waiting", Lease { begin_time: Some(in_seconds(86_400)), ..for_exporter("dut") }).await.unwrap();

    // One that was never readable, and one that was.
    let raw = json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease",
        "metadata": {"name": "poison", "namespace": NAMESPACE},
        "spec": {"clientRef": {"name": "alice"}, "selector": {"matchLabels": {"board": "dut"}}, "duration": "soon"},
    });
    lab.write(Write::Create(Object::from_value(raw).unwrap())).await;
    alice.create("spoiled", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await.0, "spoiled");
    let spoil = async || {
        let stored = Object::from_resource(&lab.lease("spoiled").await);
        let mut value = stored.into_value();
        value["spec"]["duration"] = json!("1 fortnight");
        match lab.store.transact(vec![Write::Update(Object::from_value(value).unwrap())]).await {
            Ok(_) => Some(()),
            Err(StoreError::Conflict { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    };
    eventually("spoil a lease", spoil).await;
    // It no longer holds the exporter.
    feed.free().await;
    exporter.report(ExporterStatus::Available).await;
    for restarted in [false, true] {
        if restarted {
            lab.restart().await;
            feed = exporter.status().await;
            feed.free().await;
        }
        let id = format!("good-{restarted}");
        alice.create(&id, for_exporter("dut")).await.unwrap();
        assert_eq!(feed.leased().await.0, id);
        exporter.report(ExporterStatus::LeaseReady).await;
        assert!(is_true(&alice.await_ready(&id).await, "Ready"));
        alice.delete(&id).await.unwrap();
        feed.free().await;
        exporter.report(ExporterStatus::Available).await;
        for bad in ["poison", "spoiled"] {
            assert_eq!(alice.get(bad).await.unwrap_err().code(), Code::NotFound);
            assert_eq!(alice.create(bad, for_exporter("dut")).await.unwrap_err().code(), Code::AlreadyExists);
        }
    }
    assert!(alice.get("waiting").await.unwrap().effective_end_time.is_none());
}
