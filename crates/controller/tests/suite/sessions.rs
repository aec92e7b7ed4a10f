//! The end of sessions and leases: an exporter is given out again only when it has left the lease before
//! (protocol.md §4.4, §4.5, §10.3 rows 2 and 10).

use std::time::Duration;

use jumpstarter_protocol::v1::{ExporterStatus, ListenResponse};
use tonic::{Code, Streaming};

use crate::support::{FakeClient, FakeExporter, Lab, StatusFeed, client::reason, eventually, for_exporter};

/// An exporter that serves lease `one` of alice, and bob, whose lease `two` waits for it.
struct Served {
    lab: Lab,
    exporter: FakeExporter,
    feed: StatusFeed,
    alice: FakeClient,
    bob: FakeClient,
    /// Open while the lease is served.
    listening: Streaming<ListenResponse>,
}

impl Served {
    async fn new(lab: Lab) -> Self {
        let (exporter, mut feed) = lab.available("dut").await;
        let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
        alice.create("one", for_exporter("dut")).await.unwrap();
        feed.leased().await;
        let listening = exporter.serve("one").await;
        alice.await_ready("one").await;
        bob.create("two", for_exporter("dut")).await.unwrap();
        Self { lab, exporter, feed, alice, bob, listening }
    }

    async fn await_bobs_turn(&mut self) {
        self.lab.await_lease("two", "assigned", |lease| lease.assigned_exporter().is_some()).await;
        assert_eq!(self.feed.leased().await.0, "two");
    }
}

#[tokio::test]
async fn a_session_that_ended_within_the_lease_frees_the_exporter_with_the_lease() {
    let mut served = Served::new(Lab::start().await).await;
    served.exporter.report(ExporterStatus::Available).await;
    let waiting = served.bob.get("two").await.unwrap();
    assert_eq!(waiting.exporter, None, "the lease still holds the exporter");
    served.alice.delete("one").await.unwrap();
    served.feed.free().await;
    served.await_bobs_turn().await;
}

#[tokio::test]
async fn an_exporter_that_has_not_left_its_session_is_not_given_out() {
    let mut served = Served::new(Lab::start().await).await;
    served.alice.delete("one").await.unwrap();
    served.feed.free().await;
    eventually("the wait has a reason", async || {
        // Alice looks, whose looks are not held; the conditions leave out the moments between two leases.
        let waiting = served.alice.get("two").await.unwrap();
        assert_eq!(waiting.exporter, None);
        (waiting.queue.unwrap().reason == "NotReady").then_some(())
    })
    .await;
    served.exporter.report(ExporterStatus::AfterLeaseHook).await;
    assert_eq!(served.alice.get("two").await.unwrap().exporter, None);
    served.exporter.report(ExporterStatus::Available).await;
    served.await_bobs_turn().await;
}

#[tokio::test]
async fn a_new_stream_after_the_session_ended_is_no_new_session() {
    let mut served = Served::new(Lab::start().await).await;
    served.exporter.report(ExporterStatus::Available).await;
    // Existing exporters say once that a session is over, and not again when the lease ends.
    served.feed = served.exporter.status().await;
    assert_eq!(served.feed.leased().await.0, "one");
    served.alice.delete("one").await.unwrap();
    served.feed.free().await;
    served.await_bobs_turn().await;
}

#[tokio::test]
async fn a_process_that_starts_anew_has_no_session_left() {
    let served = Served::new(Lab::start().await).await;
    served.alice.delete("one").await.unwrap();
    let Served { lab, exporter, feed, alice, bob, listening } = served;
    drop((feed, listening));
    let feed = exporter.come_online().await;
    let mut served = Served { lab, feed, alice, bob, listening: exporter.listen("one").await, exporter };
    served.await_bobs_turn().await;
}

#[tokio::test]
async fn a_lost_report_keeps_the_exporter_only_for_a_while() {
    let lab = Lab::with(|config| {
        config.limits.tear_down = Duration::from_millis(300);
        config.hook_limit = Duration::from_secs(1);
    })
    .await;
    let mut served = Served::new(lab).await;
    served.alice.delete("one").await.unwrap();
    served.feed.free().await;
    // No report ever comes.
    served.await_bobs_turn().await;
}

#[tokio::test]
async fn an_exporter_that_never_noticed_its_lease_is_free_after_a_while() {
    let lab = Lab::with(|config| config.limits.tear_down = Duration::from_millis(300)).await;
    let (_exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    alice.delete("one").await.unwrap();
    feed.free().await;
    alice.create("two", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await.0, "two");
}

#[tokio::test]
async fn a_report_may_release_the_lease_that_is_held() {
    let mut served = Served::new(Lab::start().await).await;
    served.exporter.try_report(ExporterStatus::AfterLeaseHook, None, Some(true)).await.unwrap();
    served.feed.free().await;
    served.alice.await_end("one").await;
    // A repetition, after the fact, does not reach the lease that follows.
    served.exporter.try_report(ExporterStatus::AfterLeaseHook, None, Some(true)).await.unwrap();
    served.exporter.report(ExporterStatus::Available).await;
    served.await_bobs_turn().await;
    assert!(!served.lab.lease("two").await.is_ended());
    served.exporter.try_report(ExporterStatus::LeaseReady, None, Some(false)).await.unwrap();
    served.bob.await_ready("two").await;
}

#[tokio::test]
async fn an_exporter_releases_its_own_leases_and_may_repeat_itself() {
    let served = Served::new(Lab::start().await).await;
    let (other, _feed) = served.lab.available("other").await;
    let code = |result: Result<(), tonic::Status>| result.map_or_else(|error| error.code(), |()| Code::Ok);

    assert_eq!(code(served.exporter.release("none").await), Code::NotFound);
    // Not PERMISSION_DENIED, which would make existing exporters give the call up for good.
    assert_eq!(code(other.release("one").await), Code::FailedPrecondition);
    assert_eq!(code(served.exporter.release("two").await), Code::FailedPrecondition, "it holds none");
    assert_eq!(code(served.exporter.release("one").await), Code::Ok);
    assert_eq!(code(served.exporter.release("one").await), Code::Ok, "marked already");
    let ended = served.alice.await_end("one").await;
    assert_eq!(reason(&ended, "Ready"), "Released");
    assert_eq!(code(served.exporter.release("one").await), Code::Ok, "ended already");
    assert_eq!(code(other.release("one").await), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_restart_between_two_leases_gives_the_exporter_to_nobody_too_early() {
    let mut served = Served::new(Lab::start().await).await;
    served.alice.delete("one").await.unwrap();
    served.feed.free().await;
    served.alice.await_end("one").await;
    served.lab.restart().await;
    served.feed = served.exporter.status().await;
    served.feed.free().await;
    assert_eq!(served.bob.get("two").await.unwrap().exporter, None, "its session is not over");
    served.exporter.report(ExporterStatus::Available).await;
    served.await_bobs_turn().await;
}
