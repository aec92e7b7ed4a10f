//! Transactions that stop in the middle, stores that do not answer, objects that make no sense: everything comes to the
//! end that it would have come to.

use std::{sync::atomic::Ordering, time::Duration};

use jumpstarter_model::{Exporter, Lease};
use jumpstarter_protocol::v1::{ExporterStatus, ReportStatusRequest};
use jumpstarter_store::{Key, Kind, Object, Store as _, Write};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    FakeClient, FakeExporter, Faults, Lab, SlowStore, StatusFeed, eventually, for_exporter, lab::NAMESPACE,
};

struct Scene {
    lab: Lab,
    store: std::sync::Arc<SlowStore>,
    exporter: FakeExporter,
    feed: StatusFeed,
    alice: FakeClient,
}

impl Scene {
    async fn new() -> Self {
        let (lab, store) = Lab::behind(Faults::SLOW, 1, |_| ()).await;
        let (exporter, feed) = lab.available("dut").await;
        let alice = lab.client("alice").await;
        Self { lab, store, exporter, feed, alice }
    }

    /// From now on, transactions that begin with an object of this kind stop after so many requests.
    fn cut(&self, kind: Kind, requests: usize) {
        *self.store.cut.lock().unwrap() = Some((kind, requests));
    }

    fn mend(&self) {
        *self.store.cut.lock().unwrap() = None;
    }

    async fn crash(&mut self) {
        self.lab.crash().await;
        self.mend();
        self.lab.run().await;
        self.feed = eventually("the exporter comes back", async || self.exporter.try_status().await.ok()).await;
    }

    /// Both halves say that the lease holds the exporter, or that nobody does.
    async fn await_holder(&self, lease: Option<&str>) {
        let what = format!("is held by {lease:?}");
        self.lab
            .await_exporter("dut", &what, |exporter| {
                let claim = exporter.status.as_ref().and_then(|status| status.lease_ref.as_ref());
                claim.map(|claim| claim.name.as_str()) == lease
            })
            .await;
        if let Some(lease) = lease {
            self.lab.await_lease(lease, "names its exporter", |lease| lease.assigned_exporter() == Some("dut")).await;
        }
    }

    async fn use_it(&mut self, lease: &str) {
        while self.feed.leased_or_free().await.as_deref() != Some(lease) {}
        let _listening = self.exporter.serve(lease).await;
        self.alice.await_ready(lease).await;
    }
}

#[tokio::test]
async fn an_assignment_that_stops_anywhere_is_completed_at_once() {
    for requests in 0..3 {
        let mut scene = Scene::new().await;
        scene.cut(Kind::Exporter, requests);
        // Claim, new lease, its status: what is cut off is done again by itself, or when the client asks again.
        let first = scene.alice.create("one", for_exporter("dut")).await;
        scene.mend();
        if first.is_err() {
            eventually("the lease is created", async || scene.alice.create("one", for_exporter("dut")).await.ok())
                .await;
        }
        scene.use_it("one").await;
        scene.await_holder(Some("one")).await;
    }
}

#[tokio::test]
async fn an_assignment_that_stops_anywhere_is_completed_after_a_crash() {
    for requests in 0..3 {
        let mut scene = Scene::new().await;
        scene.cut(Kind::Exporter, requests);
        let (alice, asked) = (scene.alice.clone(), for_exporter("dut"));
        let mut call = JoinSet::new();
        call.spawn(async move { alice.create("one", asked).await });
        let store = std::sync::Arc::clone(&scene.store);
        eventually("the store was asked", async || (store.cut_off.load(Ordering::Relaxed) > 0).then_some(())).await;
        scene.crash().await;
        let _ = call.join_next().await;
        eventually("the lease is created", async || scene.alice.create("one", for_exporter("dut")).await.ok()).await;
        scene.use_it("one").await;
        scene.await_holder(Some("one")).await;
    }
}

#[tokio::test]
async fn an_end_that_stops_anywhere_is_completed_after_a_crash() {
    for requests in 0..4 {
        let mut scene = Scene::new().await;
        scene.alice.create("one", for_exporter("dut")).await.unwrap();
        scene.use_it("one").await;
        scene.cut(Kind::Lease, requests);
        let alice = scene.alice.clone();
        let mut call = JoinSet::new();
        call.spawn(async move { alice.delete("one").await });
        let store = std::sync::Arc::clone(&scene.store);
        let halfway = eventually("the store was asked", async || {
            let cut = store.cut_off.load(Ordering::Relaxed) > 0;
            (cut || call.try_join_next().is_some()).then_some(())
        });
        halfway.await;
        scene.crash().await;
        let _ = call.join_next().await;
        // The client asks again; a lease that has ended already says so.
        let _ = scene.alice.delete("one").await;
        scene
            .lab
            .await_lease("one", "has ended and says so", |lease| {
                let labels = lease.metadata.labels.clone().unwrap_or_default();
                lease.is_ended() && labels.contains_key("jumpstarter.dev/lease-ended")
            })
            .await;
        scene.await_holder(None).await;
        scene.exporter.report(ExporterStatus::Available).await;
        scene.alice.create("two", for_exporter("dut")).await.unwrap();
        scene.use_it("two").await;
    }
}

#[tokio::test]
async fn a_lease_takes_four_transactions_from_its_creation_to_the_next_ones_device() {
    let mut scene = Scene::new().await;
    // Whatever follows the exporter's arrival comes first.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = scene.store.transactions.load(Ordering::Relaxed);
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    scene.use_it("one").await;
    scene.alice.delete("one").await.unwrap();
    scene.feed.free().await;
    scene.exporter.report(ExporterStatus::Available).await;
    let spent = scene.store.transactions.load(Ordering::Relaxed) - before;
    assert_eq!(spent, 4, "create with its claim, report with Ready, release with its end, report");
}

#[tokio::test]
async fn a_controller_stops_in_time_when_its_store_hangs_and_writes_nothing_afterwards() {
    let mut scene = Scene::new().await;
    scene.store.hangs.store(true, Ordering::Relaxed);
    let alice = scene.alice.clone();
    let mut call = JoinSet::new();
    call.spawn(async move { alice.create("late", for_exporter("dut")).await });
    let asked = scene.store.transactions.load(Ordering::Relaxed);
    eventually("the store was asked", async || {
        (scene.store.transactions.load(Ordering::Relaxed) > asked).then_some(())
    })
    .await;
    let started = Instant::now();
    scene.lab.shut_down().await;
    assert!(started.elapsed() < Duration::from_millis(2500), "took {:?}", started.elapsed());
    scene.store.hangs.store(false, Ordering::Relaxed);
    assert!(call.join_next().await.unwrap().unwrap().is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(scene.lab.get::<Lease>("late").await.is_none(), "written after the controller had stopped");
}

#[tokio::test]
async fn what_happens_is_told_once_it_is_true() {
    let mut scene = Scene::new().await;
    let told = &scene.lab.events;
    eventually("online is told", async || {
        (told.reasons(Kind::Exporter, "dut") == ["ExporterRegistered", "ExporterOnline"]).then_some(())
    })
    .await;
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    scene.feed.leased().await;
    scene.alice.delete("one").await.unwrap();
    scene.alice.create("never", for_exporter("nobody")).await.unwrap();
    scene.exporter.unregister("maintenance").await;
    let told = &scene.lab.events;
    assert_eq!(told.reasons(Kind::Lease, "one"), ["Assigned", "Released"]);
    assert_eq!(told.reasons(Kind::Lease, "never"), ["Unsatisfiable"]);
    // The connection is noticed to be gone while the call is still on its way.
    let mut about = told.reasons(Kind::Exporter, "dut").split_off(2);
    about.sort_unstable();
    assert_eq!(about, ["ExporterOffline", "ExporterUnregistered"]);
}

fn manifest(kind: &str, name: &str, spec: &serde_json::Value) -> Object {
    Object::from_value(serde_json::json!({
        "apiVersion": "jumpstarter.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": spec,
    }))
    .unwrap()
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_once_and_holds_up_nobody() {
    let mut scene = Scene::new().await;
    let spec = serde_json::json!({ "clientRef": { "name": "alice" }, "duration": "soon", "selector": {}, "exporterRef": { "name": "dut" } });
    scene.lab.write(Write::Create(manifest("Lease", "poison", &spec))).await;
    let events = std::sync::Arc::clone(&scene.lab.events);
    let reasons = || events.reasons(Kind::Lease, "poison");
    eventually("it is told", async || (!reasons().is_empty()).then_some(())).await;
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(scene.feed.leased().await.0, "one");
    scene.lab.restart().await;
    assert_eq!(reasons(), ["Unreadable", "Unreadable"], "once for each start");
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_lets_nobody_in() {
    let scene = Scene::new().await;
    let spec = serde_json::json!({ "policies": [{ "from": [{ "clientSelector": {} }], "maximumDuration": "soon" }] });
    scene.lab.write(Write::Create(manifest("ExporterAccessPolicy", "poison", &spec))).await;
    let told = || scene.lab.events.reasons(Kind::ExporterAccessPolicy, "poison");
    eventually("it is told", async || (told() == ["Unreadable"]).then_some(())).await;
    let refused = scene.alice.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(crate::support::client::reason(&refused, "Unsatisfiable"), "NoAccess");
    scene.lab.delete(Kind::ExporterAccessPolicy, "poison").await;
    eventually("without policies everybody may", async || {
        let id = format!("l{}", uuid::Uuid::now_v7());
        let lease = scene.alice.create(&id, for_exporter("dut")).await.unwrap();
        lease.exporter
    })
    .await;
}

#[tokio::test]
async fn a_lease_with_a_foreign_owner_is_served() {
    let scene = Scene::new().await;
    let mut lease: Lease = manifest(
        "Lease",
        "owned",
        &serde_json::json!({
            "clientRef": { "name": "alice" }, "duration": "1h0m0s", "selector": {}, "exporterRef": { "name": "dut" }
        }),
    )
    .decode()
    .unwrap();
    lease.metadata.owner_references = Some(vec![
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "0-1-2", "controller": true
        }))
        .unwrap(),
    ]);
    scene.lab.write(Write::Create(Object::from_resource(&lease))).await;
    let served = scene.lab.await_lease("owned", "assigned", |lease| lease.assigned_exporter().is_some()).await;
    assert_eq!(served.metadata.owner_references.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lease_that_is_made_while_it_is_looked_for_in_vain_is_not_forgotten() {
    let mut scene = Scene::new().await;
    // The claim is made, the lease is not there yet when the service looks what has become of it, and the answer takes
    // its time.
    scene.cut(Kind::Exporter, 1);
    *scene.store.held.lock().unwrap() = Some(Key::new(Kind::Lease, NAMESPACE, "one"));
    let (alice, asked) = (scene.alice.clone(), for_exporter("dut"));
    let mut call = JoinSet::new();
    call.spawn(async move { alice.create("one", asked).await });
    let store = std::sync::Arc::clone(&scene.store);
    eventually("the lease is looked for", async || (store.held_reads.load(Ordering::Relaxed) > 0).then_some(())).await;
    scene.mend();
    // What was sent arrives after all, and is heard of before the answer.
    let lease = manifest(
        "Lease",
        "one",
        &serde_json::json!({
            "clientRef": { "name": "alice" }, "duration": "1h0m0s", "selector": {}, "exporterRef": { "name": "dut" }
        }),
    );
    scene.lab.write(Write::Create(lease)).await;
    eventually("the lease is known", async || scene.alice.get("one").await.ok()).await;
    *scene.store.held.lock().unwrap() = None;
    let _ = call.join_next().await;
    scene.use_it("one").await;
    scene.await_holder(Some("one")).await;
}

#[tokio::test]
async fn a_lease_outlives_its_client() {
    let mut scene = Scene::new().await;
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    scene.use_it("one").await;
    scene.lab.delete(Kind::Client, "alice").await;
    scene.exporter.report(ExporterStatus::LeaseReady).await;
    assert!(!scene.lab.lease("one").await.is_ended());
    scene.await_holder(Some("one")).await;
    scene.exporter.release("one").await.unwrap();
    scene.lab.await_lease("one", "ended", Lease::is_ended).await;
}

#[tokio::test]
async fn a_late_release_by_the_exporter_does_not_end_the_next_lease() {
    let mut scene = Scene::new().await;
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    scene.use_it("one").await;
    scene.alice.create("two", for_exporter("dut")).await.unwrap();
    // The report that ends a session and gives the lease back, while its client does so too.
    let (exporter, alice) = (scene.exporter.clone(), scene.alice.clone());
    let (reported, _) =
        tokio::join!(exporter.try_report(ExporterStatus::Available, None, Some(true)), alice.delete("one"),);
    reported.unwrap();
    scene.lab.await_lease("two", "assigned", |lease| lease.assigned_exporter().is_some()).await;
    scene.exporter.try_report(ExporterStatus::Available, Some("again"), None).await.unwrap();
    let two = scene.lab.lease("two").await;
    assert!(!two.is_ended() && two.spec.release != Some(true), "{two:?}");
}

#[tokio::test]
async fn a_lease_whose_session_ended_is_released_after_a_restart() {
    let mut scene = Scene::new().await;
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    scene.use_it("one").await;
    scene.exporter.report(ExporterStatus::AfterLeaseHook).await;
    scene.exporter.report(ExporterStatus::Available).await;
    scene.crash().await;
    scene.alice.delete("one").await.unwrap();
    scene.lab.await_lease("one", "ended", Lease::is_ended).await;
    scene.alice.create("two", for_exporter("dut")).await.unwrap();
    scene.lab.await_lease("two", "assigned", |lease| lease.assigned_exporter().is_some()).await;
}

#[tokio::test]
async fn a_running_lease_moves_to_another_service_without_its_status() {
    let mut scene = Scene::new().await;
    scene.alice.create("one", for_exporter("dut")).await.unwrap();
    scene.use_it("one").await;
    scene.lab.stop().await;
    // As an export and `kubectl apply` do.
    let carry = |object: Object| {
        let mut value = object.into_value();
        let status = value.as_object_mut().unwrap().shift_remove("status").unwrap();
        value["metadata"]["annotations"]["jumpstarter.dev/migrated-status"] = status.to_string().into();
        Object::from_value(value).unwrap().unconditional()
    };
    let lease: Object = Object::from_resource(&scene.lab.lease("one").await);
    let exporter = Object::from_resource(&scene.lab.get::<Exporter>("dut").await.unwrap());
    for object in [carry(lease), carry(exporter)] {
        scene.lab.store.transact(vec![Write::Replace(object)]).await.unwrap();
    }
    assert!(scene.lab.lease("one").await.status.is_none());
    scene.lab.run().await;
    let mut feed = scene.exporter.status().await;
    while feed.leased_or_free().await.as_deref() != Some("one") {}
    let _listening = scene.exporter.listen("one").await;
    eventually("dial works", async || scene.alice.dial("one").await.ok()).await;
    scene.await_holder(Some("one")).await;
}

#[tokio::test]
async fn a_lease_that_was_ready_before_its_exporter_heard_of_it_is_torn_down_also_after_a_restart() {
    let mut lab = Lab::start().await;
    let exporter = lab.exporter("dut", &[("board", "dut")]).await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    exporter.register().await;
    let mut feed = exporter.status().await;
    let before = feed.next().await.unwrap().revision;
    // It has not said anything of itself, so the lease is ready at once.
    alice.create("one", for_exporter("dut")).await.unwrap();
    alice.await_ready("one").await;
    // What it said first, before it heard of the lease, arrives only now.
    let stub = exporter.stub.clone();
    let say = async |revision: String| {
        let request = ReportStatusRequest {
            status: ExporterStatus::Available.into(),
            revision: Some(revision),
            ..ReportStatusRequest::default()
        };
        stub.clone().report_status(exporter.identity.request(request)).await.unwrap();
    };
    say(before).await;
    lab.restart().await;
    let mut feed = eventually("the exporter comes back", async || exporter.try_status().await.ok()).await;
    while feed.leased_or_free().await.as_deref() != Some("one") {}
    bob.create("two", for_exporter("dut")).await.unwrap();
    alice.delete("one").await.unwrap();
    let after = feed.next().await.unwrap().revision;
    let waits = eventually("the next one waits for the tear-down or does not", async || {
        // The looks of others are not held back.
        let two = alice.get("two").await.unwrap();
        let waits = two.queue.as_ref().is_some_and(|queue| queue.reason == "NotReady");
        (waits || two.exporter.is_some()).then_some(waits)
    })
    .await;
    assert!(waits, "the session of the lease before is open");
    say(after).await;
    lab.await_lease("two", "assigned", |lease| lease.assigned_exporter().is_some()).await;
}
