//! Registration and the Status stream (protocol.md §4.2, §4.3, §10.3, §10.4).

use std::time::Duration;

use jumpstarter_model::{Exporter, ExporterPhase};
use jumpstarter_protocol::{client::v1::Lease, v1::ExporterStatus};
use jumpstarter_store::Kind;
use tonic::Code;

use crate::support::{Lab, client::path, eventually, for_exporter};

#[tokio::test]
async fn a_registered_exporter_shows_its_drivers_and_is_told_its_uid() {
    let lab = Lab::start().await;
    let exporter = lab.exporter("dut", &[]).await;
    let answer = exporter.register().await;
    let stored = lab.stored_exporter("dut").await;
    assert_eq!(Some(answer.uuid), stored.metadata.uid);
    assert_eq!(stored.status.unwrap().devices.len(), 1);
}

#[tokio::test]
async fn registering_replaces_the_labels_that_exporters_own_and_no_others() {
    let lab = Lab::start().await;
    let exporter = lab.exporter("dut", &[("board", "x"), ("jumpstarter.dev/old", "1")]).await;
    exporter.try_register(&[("jumpstarter.dev/name", "dut"), ("board", "stolen")]).await.unwrap();
    let labels = lab.stored_exporter("dut").await.metadata.labels.unwrap();
    let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("board", "x"), ("jumpstarter.dev/name", "dut")]);
    exporter.register().await;
    assert_eq!(lab.stored_exporter("dut").await.metadata.labels.unwrap().len(), 1, "an empty map removes them");
}

#[tokio::test]
async fn labels_that_are_none_are_refused_and_nothing_is_written() {
    let lab = Lab::start().await;
    let exporter = lab.exporter("dut", &[]).await;
    for (key, value) in [("jumpstarter.dev/name", "no spaces"), ("jumpstarter.dev/-", "x"), ("jumpstarter.dev/ü", "x")]
    {
        let refused = exporter.try_register(&[(key, value)]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{key}={value}: {refused}");
    }
    assert_eq!(lab.stored_exporter("dut").await.metadata.labels, None);
}

#[tokio::test]
async fn unregistering_takes_the_exporter_offline_at_once_and_its_drivers_away() {
    // Longer than the test waits: what is seen is not the grace.
    let lab = Lab::with(|config| config.presence_grace = Duration::from_mins(10)).await;
    let (exporter, _feed) = lab.available("dut").await;
    exporter.unregister("power cut").await;
    let gone = lab.await_exporter("dut", "offline", |exporter| !crate::support::lab::is_online(exporter)).await;
    let status = gone.status.unwrap();
    assert_eq!(status.exporter_status, Some(ExporterPhase::Offline));
    assert_eq!(status.status_message.as_deref(), Some("power cut"));
    assert!(status.devices.is_empty());
}

#[tokio::test]
async fn an_exporter_that_says_it_is_offline_is_so_at_once_and_comes_back() {
    let lab = Lab::with(|config| config.presence_grace = Duration::from_mins(10)).await;
    let (exporter, feed) = lab.available("dut").await;
    exporter.try_report(ExporterStatus::Offline, Some("bye"), None).await.unwrap();
    lab.await_online("dut", false).await;
    drop(feed);
    let _feed = exporter.come_online().await;
    lab.await_online("dut", true).await;
}

#[tokio::test]
async fn a_lost_stream_takes_the_exporter_offline_after_the_grace() {
    let lab = Lab::with(|config| config.presence_grace = Duration::from_millis(200)).await;
    let (_exporter, feed) = lab.available("dut").await;
    drop(feed);
    lab.await_online("dut", false).await;
}

#[tokio::test]
async fn a_peer_that_reports_nothing_recovers_from_a_lost_connection() {
    let lab = Lab::with(|config| config.presence_grace = Duration::from_millis(200)).await;
    let exporter = lab.exporter("dut", &[("board", "dut")]).await;
    exporter.register().await;
    drop(exporter.status().await);
    lab.await_exporter("dut", "offline", |exporter| phase(exporter) == Some(ExporterPhase::Offline)).await;
    let mut feed = exporter.status().await;
    feed.free().await;
    lab.await_exporter("dut", "without a phase", |exporter| phase(exporter).is_none()).await;
    lab.client("alice").await.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await.0, "one");
}

fn phase(exporter: &Exporter) -> Option<ExporterPhase> {
    exporter.status.as_ref()?.exporter_status
}

#[tokio::test]
async fn an_exporter_that_was_away_is_in_the_state_that_it_said_last() {
    let lab = Lab::with(|config| config.presence_grace = Duration::from_millis(200)).await;
    let (exporter, feed) = lab.available("dut").await;
    drop(feed);
    lab.await_exporter("dut", "offline", |exporter| phase(exporter) == Some(ExporterPhase::Offline)).await;
    let _feed = exporter.status().await;
    lab.await_exporter("dut", "available", |exporter| phase(exporter) == Some(ExporterPhase::Available)).await;
}

#[tokio::test]
async fn a_return_within_the_grace_changes_nothing_for_the_lease() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    alice.await_ready("one").await;
    let before = lab.await_exporter("dut", "serving", |one| phase(one) == Some(ExporterPhase::LeaseReady)).await;
    drop(feed);
    let mut feed = exporter.status().await;
    assert_eq!(feed.leased().await, ("one".to_owned(), "alice".to_owned()));
    // Another change goes through the runtime, so that what the reconnect would have led to has happened by then.
    lab.client("bob").await.create("two", for_exporter("dut")).await.unwrap();
    assert_eq!(lab.stored_exporter("dut").await, before, "the exporter was not even written");
}

#[tokio::test]
async fn only_changes_are_told() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    // None of this changes what the stream says; the feed fails on a repetition.
    exporter.try_register(&[("jumpstarter.dev/name", "dut")]).await.unwrap();
    exporter.try_report(ExporterStatus::Available, Some("still here"), None).await.unwrap();
    lab.edit::<Exporter>("dut", |exporter| exporter.spec.enabled = Some(true)).await;
    lab.client("alice").await.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await.0, "one");
    lab.edit::<Exporter>("dut", |exporter| exporter.spec.enabled = Some(false)).await;
    let _listening = exporter.serve("one").await;
    feed.quiet().await;
}

#[tokio::test]
async fn between_two_leases_the_exporter_is_told_that_it_is_free() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    bob.create("two", for_exporter("dut")).await.unwrap();
    // The session ends within the lease, so that the next lease can begin the moment this one ends.
    exporter.report(ExporterStatus::Available).await;
    alice.delete("one").await.unwrap();
    feed.free().await;
    assert_eq!(feed.leased().await, ("two".to_owned(), "bob".to_owned()));
}

#[tokio::test]
async fn between_two_leases_a_silent_peer_is_told_that_it_is_free() {
    let lab = Lab::start().await;
    let exporter = lab.exporter("dut", &[("board", "dut")]).await;
    exporter.register().await;
    let mut feed = exporter.status().await;
    feed.free().await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    alice.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await.0, "one");
    bob.create("two", for_exporter("dut")).await.unwrap();
    alice.delete("one").await.unwrap();
    feed.free().await;
    assert_eq!(feed.leased().await.0, "two");
}

#[tokio::test]
async fn a_lease_that_began_while_the_stream_was_away_comes_after_a_free_moment() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    bob.create("two", for_exporter("dut")).await.unwrap();
    exporter.report(ExporterStatus::Available).await;
    drop(feed);
    alice.delete("one").await.unwrap();
    lab.await_lease("two", "assigned", |lease| lease.assigned_exporter().is_some()).await;
    // The exporter still believes that it holds the first lease.
    let mut feed = exporter.status().await;
    feed.free().await;
    assert_eq!(feed.leased().await.0, "two");
}

#[tokio::test]
async fn a_transfer_changes_the_client_and_nothing_else() {
    let lab = Lab::start().await;
    let (_exporter, mut feed) = lab.available("dut").await;
    let (alice, _bob) = (lab.client("alice").await, lab.client("bob").await);
    alice.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await, ("one".to_owned(), "alice".to_owned()));
    alice.update("one", &["client"], Lease { client: Some(path("clients", "bob")), ..Lease::default() }).await.unwrap();
    assert_eq!(feed.leased().await, ("one".to_owned(), "bob".to_owned()));
}

#[tokio::test]
async fn a_lease_that_the_exporter_released_is_never_told_again() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    exporter.release("one").await.unwrap();
    // The release was accepted: from here on neither this stream nor the next may name the lease.
    let mut next = exporter.status().await;
    next.released.push("one".to_owned());
    next.free().await;
    exporter.report(ExporterStatus::Available).await;
    alice.await_end("one").await;
    next.quiet().await;
}

#[tokio::test]
async fn a_shutdown_ends_the_streams_with_unavailable() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    lab.client("alice").await.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let mut listening = exporter.listen("one").await;
    lab.stop_streams();
    assert_eq!(feed.end().await.code(), Code::Unavailable);
    assert_eq!(listening.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(exporter.try_status().await.err().unwrap().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_newer_stream_replaces_the_older_one() {
    let lab = Lab::start().await;
    let (exporter, mut older) = lab.available("dut").await;
    let mut newer = exporter.status().await;
    newer.free().await;
    assert_eq!(older.end().await.code(), Code::Unavailable);
    drop(older);
    lab.client("alice").await.create("one", for_exporter("dut")).await.unwrap();
    newer.leased().await;
}

#[tokio::test]
async fn of_two_processes_that_fight_one_keeps_the_stream() {
    let lab = Lab::start().await;
    let (exporter, feed) = lab.available("dut").await;
    let mut feeds = vec![feed];
    let refused = loop {
        match exporter.try_status().await {
            Ok(feed) => feeds.push(feed),
            Err(refused) => break refused,
        }
        assert!(feeds.len() < 20, "nobody is held off");
    };
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("another process"), "{refused}");
    let holder = feeds.last_mut().unwrap();
    holder.free().await;
    lab.client("alice").await.create("one", for_exporter("dut")).await.unwrap();
    holder.leased().await;
}

#[tokio::test]
async fn a_deleted_exporter_is_told_so() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    lab.delete(Kind::Exporter, "dut").await;
    assert_eq!(feed.end().await.code(), Code::NotFound);
    eventually("the name is free", async || {
        exporter.try_status().await.err().filter(|error| error.code() == Code::NotFound)
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_the_lease_runs_on_and_is_told_again() {
    let mut lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let listening = exporter.serve("one").await;
    let before = alice.await_ready("one").await;
    drop(listening);
    lab.restart().await;
    assert_eq!(feed.end().await.code(), Code::Unavailable);
    assert!(crate::support::lab::is_online(&lab.stored_exporter("dut").await), "it is expected back");
    let mut feed = exporter.status().await;
    assert_eq!(feed.leased().await, ("one".to_owned(), "alice".to_owned()));
    let after = alice.get("one").await.unwrap();
    assert_eq!((after.conditions, after.exporter), (before.conditions, before.exporter));
    let _listening = exporter.listen("one").await;
    alice.dial("one").await.unwrap();
}

#[tokio::test]
async fn an_exporter_that_does_not_come_back_after_a_restart_is_offline() {
    let mut lab = Lab::with(|config| {
        config.presence_grace = Duration::from_millis(100);
        config.limits.startup_grace = Duration::from_millis(300);
    })
    .await;
    let (_exporter, feed) = lab.available("dut").await;
    lab.stop().await;
    drop(feed);
    lab.run().await;
    lab.await_online("dut", false).await;
}
