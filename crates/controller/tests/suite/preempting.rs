//! Spot leases that make way (docs/scheduling.md): what clients, exporters and administrators see of it.

use std::{sync::atomic::Ordering, time::Duration};

use jumpstarter_model::Lease as StoredLease;
use jumpstarter_protocol::{client::v1::Lease, v1::ExporterStatus};
use jumpstarter_scheduler::transition;
use jumpstarter_store::Kind;
use serde_json::json;

use crate::support::{
    FakeClient, FakeExporter, Faults, Lab, SlowStore, StatusFeed,
    client::{condition, is_true, reason},
    eventually, for_exporter,
};

const GRACE: Duration = Duration::from_secs(2);

/// Alice has spot access, bob has full access; alice holds the one device with lease `one`, ready.
struct Scene {
    lab: Lab,
    store: std::sync::Arc<SlowStore>,
    exporter: FakeExporter,
    feed: StatusFeed,
    alice: FakeClient,
    bob: FakeClient,
}

impl Scene {
    async fn new() -> Self {
        let (lab, store) = Lab::behind(Faults::SLOW, 1, |config| config.preemption_grace = GRACE).await;
        let rules = json!({
            "exporterSelector": {},
            "policies": [
                {"priority": 1, "from": [{"clientSelector": {"matchLabels": {"team": "full"}}}]},
                {"priority": 5, "from": [{"clientSelector": {}}], "spotAccess": true},
            ],
        });
        lab.policy("rules", rules).await;
        let (exporter, mut feed) = lab.available("dut").await;
        let alice = lab.client("alice").await;
        let bob = lab.labelled_client("bob", &[("team", "full")]).await;
        alice.create("one", for_exporter("dut")).await.unwrap();
        feed.leased().await;
        let _listening = exporter.serve("one").await;
        alice.await_ready("one").await;
        Self { lab, store, exporter, feed, alice, bob }
    }

    async fn ask_for_requeue(&self) {
        let ask = |lease: &mut StoredLease| {
            let annotations = lease.metadata.annotations.get_or_insert_default();
            annotations.insert(transition::REQUEUE.to_owned(), "true".to_owned());
        };
        self.lab.edit("one", ask).await;
    }

    async fn await_notice(&self, holds: bool) -> StoredLease {
        let noticed = |lease: &StoredLease| {
            let status = lease.status.as_ref().unwrap();
            jumpstarter_model::condition::is_true(&status.conditions, "Preempting") == holds
        };
        self.lab.await_lease("one", &format!("has a notice: {holds}"), noticed).await
    }

    /// The device is torn down and goes to bob.
    async fn goes_to_bob(&mut self) {
        // Who has only just connected may hear of the old lease first.
        while self.feed.leased_or_free().await.is_some() {}
        self.exporter.report(ExporterStatus::Available).await;
        assert_eq!(self.feed.leased().await.0, "two");
    }
}

#[tokio::test]
async fn a_spot_lease_is_told_and_makes_way() {
    let mut scene = Scene::new().await;
    let stored = scene.lab.lease("one").await.status.unwrap();
    assert_eq!((stored.spot_access, stored.priority), (Some(true), Some(5)));
    let asked = scene.alice.get("one").await.unwrap().duration.unwrap();
    let waits = scene.bob.create("two", for_exporter("dut")).await.unwrap();
    assert_eq!(reason(&waits, "Pending"), "NotAvailable");
    scene.await_notice(true).await;
    let told = scene.alice.get("one").await.unwrap();
    assert_eq!((is_true(&told, "Ready"), reason(&told, "Preempting")), (true, "PreemptionNotice"));
    // Clients take begin and duration for the end.
    assert!(told.duration.unwrap().seconds < asked.seconds, "{told:?}");

    let ended = scene.alice.await_end("one").await;
    let ready = condition(&ended, "Ready").unwrap();
    assert_eq!((ready.status(), ready.reason()), ("False", "Preempted"));
    assert_eq!(ended.conditions.last().unwrap().r#type(), "Ready");
    assert_eq!(ended.duration, Some(asked), "in the end it says again what was asked for");
    scene.goes_to_bob().await;
    let events = scene.lab.events.reasons(Kind::Lease, "one");
    assert!(events.ends_with(&["PreemptionNotice", "Preempted"]), "{events:?}");
}

#[tokio::test]
async fn a_client_asks_to_be_queued_again() {
    let mut scene = Scene::new().await;
    assert!(!scene.alice.get("one").await.unwrap().requeue, "what a released client cannot ask for is not there");
    let waits = scene.alice.create("three", Lease { requeue: true, ..for_exporter("dut") }).await.unwrap();
    assert!(waits.requeue && waits.requeued_as.is_none(), "{waits:?}");
    scene.alice.delete("one").await.unwrap();
    while scene.feed.leased_or_free().await.is_some() {}
    scene.exporter.report(ExporterStatus::Available).await;
    assert_eq!(scene.feed.leased().await.0, "three");
    scene.bob.create("two", for_exporter("dut")).await.unwrap();
    scene.alice.await_end("three").await;
    let successor =
        eventually("the ended lease names who follows", async || scene.alice.get("three").await.unwrap().requeued_as)
            .await;
    let follows = scene.alice.get(successor.rsplit('/').next().unwrap()).await.unwrap();
    assert!(follows.requeue && follows.requeued_as.is_none(), "{follows:?}");
    assert_eq!(follows.selector, waits.selector);
}

#[tokio::test]
async fn a_notice_is_withdrawn_for_everybody_to_see() {
    let scene = Scene::new().await;
    scene.bob.create("two", for_exporter("dut")).await.unwrap();
    scene.await_notice(true).await;
    scene.bob.delete("two").await.unwrap();
    let stays = scene.await_notice(false).await;
    assert!(!stays.is_ended());
    let shown = scene.alice.get("one").await.unwrap();
    assert_eq!(shown.conditions.last().unwrap().r#type(), "Ready");
    assert!(shown.duration.unwrap().seconds > 60, "{shown:?}");
    let events = scene.lab.events.reasons(Kind::Lease, "one");
    assert!(events.ends_with(&["PreemptionNotice", "PreemptionWithdrawn"]), "{events:?}");
}

#[tokio::test]
async fn a_preemption_that_stops_anywhere_is_completed_and_nobody_follows_twice() {
    // Successor, end of the lease, its exporter.
    for requests in 0..3 {
        let mut scene = Scene::new().await;
        scene.ask_for_requeue().await;
        scene.bob.create("two", for_exporter("dut")).await.unwrap();
        let noticed = scene.await_notice(true).await;
        *scene.store.cut.lock().unwrap() = Some((Kind::Lease, requests));
        let cut = scene.store.cut_off.load(Ordering::Relaxed);
        eventually("the preemption is cut off", async || {
            (scene.store.cut_off.load(Ordering::Relaxed) > cut).then_some(())
        })
        .await;
        scene.lab.crash().await;
        *scene.store.cut.lock().unwrap() = None;
        scene.lab.run().await;
        let successor = transition::successor_name(&noticed);
        let names = |lease: &StoredLease| {
            let annotations = lease.metadata.annotations.as_ref();
            let named = annotations.and_then(|annotations| annotations.get(transition::REQUEUED_AS));
            lease.is_ended() && named == Some(&successor)
        };
        scene.lab.await_lease("one", &format!("names who follows, after {requests} requests"), names).await;
        let waits = scene.lab.lease(&successor).await;
        assert!(transition::is_successor(&waits, "one"));
        assert_eq!(waits.spec, scene.lab.lease("one").await.spec);
        scene.feed = eventually("the exporter comes back", async || scene.exporter.try_status().await.ok()).await;
        scene.goes_to_bob().await;
    }
}
