//! Several leases that are served together: `CreateLeaseGroup`, what old clients see of it, what is refused, and crashes.

use std::sync::atomic::Ordering;

use jumpstarter_model::LeaseGroup;
use jumpstarter_protocol::{
    client::v1::{Lease, ListLeasesRequest},
    v1::ExporterStatus,
};
use tonic::Code;

use crate::support::{
    FakeExporter, Faults, Lab, StatusFeed,
    client::{in_seconds, path},
    eventually, for_exporter, wanted,
};

/// A device that is ready for leases.
async fn device(lab: &Lab, name: &str, rack: &str) -> (FakeExporter, StatusFeed) {
    let exporter = lab.exporter(name, &[("board", name), ("rack", rack)]).await;
    let feed = exporter.come_online().await;
    lab.await_online(name, true).await;
    (exporter, feed)
}

#[tokio::test]
async fn a_group_gets_its_devices_together_and_each_is_an_ordinary_lease() {
    let lab = Lab::start().await;
    let (rig, mut rig_feed) = device(&lab, "rig", "1").await;
    let (psu, mut psu_feed) = device(&lab, "psu", "1").await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    bob.create("before", for_exporter("psu")).await.unwrap();
    assert_eq!(psu_feed.leased().await.0, "before");
    let serving = psu.serve("before").await;
    bob.await_ready("before").await;

    let group = alice.create_group("duo", vec![wanted("board=rig"), wanted("board=psu")], &["rack"]).await.unwrap();
    assert_eq!((group.name.as_str(), group.leases.len()), ("duo", 2));
    assert!(group.leases.iter().all(|lease| lease.group == "duo" && lease.exporter.is_none()), "{group:?}");
    let waiting = alice.get("duo-0").await.unwrap();
    assert_eq!(waiting.queue.unwrap().reason, "GroupNotAvailable");
    rig_feed.quiet().await;

    // Once the last one comes free, both exporters hear of it.
    bob.delete("before").await.unwrap();
    while psu_feed.leased_or_free().await.is_some() {}
    drop(serving);
    psu.report(ExporterStatus::Available).await;
    assert_eq!(psu_feed.leased().await.0, "duo-1");
    assert_eq!(rig_feed.leased().await.0, "duo-0");
    let _serving = (rig.serve("duo-0").await, psu.serve("duo-1").await);
    let (first, second) = (alice.await_ready("duo-0").await, alice.await_ready("duo-1").await);
    assert_eq!((first.exporter, second.exporter), (Some(path("exporters", "rig")), Some(path("exporters", "psu"))));
    assert_eq!(first.effective_begin_time, second.effective_begin_time);
    alice.dial("duo-0").await.unwrap();

    let filter = "jumpstarter.dev/lease-group=duo".to_owned();
    let found = alice.list(ListLeasesRequest { filter, ..Default::default() }).await.unwrap();
    assert_eq!(found.leases.len(), 2);
    let refused = bob.delete_group("duo").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    alice.delete_group("duo").await.unwrap();
    alice.await_end("duo-0").await;
    alice.await_end("duo-1").await;
    assert_eq!(alice.delete_group("duo").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_group_that_cannot_be_is_refused_and_nothing_is_half_created() {
    let lab = Lab::start().await;
    let _rig = device(&lab, "rig", "1").await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    let rig = || wanted("board=rig");
    let pinned = || Lease { exporter_name: Some("rig".to_owned()), selector: String::new(), ..rig() };
    let later = Lease { begin_time: Some(in_seconds(3600)), ..rig() };
    for (leases, same, fault) in [
        (vec![], &[][..], "1 to 16"),
        (vec![rig(); 17], &[][..], "1 to 16"),
        (vec![rig(), later], &[][..], "begin together"),
        (vec![pinned(), pinned()], &[][..], "two leases of the group name exporter `rig`"),
        (vec![rig(), Lease::default()], &[][..], "lease 1: "),
        (vec![rig()], &["a b"][..], "not a label key"),
    ] {
        let refused = alice.create_group("bad", leases, same).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(fault), "{}", refused.message());
    }
    assert_eq!(alice.create_group("-", vec![rig()], &[]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(alice.get("bad-0").await.unwrap_err().code(), Code::NotFound);

    // A name that is taken half-way: the other lease is taken back.
    bob.create("half-1", rig()).await.unwrap();
    let refused = alice.create_group("half", vec![rig(), rig()], &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(alice.get("half-0").await.unwrap_err().code(), Code::NotFound);

    // Larger than the lab: that depends on the lab, and is the leases' to tell.
    alice.create_group("large", vec![rig(), rig()], &["rack"]).await.unwrap();
    let ended = alice.await_end("large-1").await;
    let last = ended.conditions.last().unwrap();
    assert_eq!((last.r#type.as_deref(), last.reason.as_deref()), (Some("Unsatisfiable"), Some("GroupTooLarge")));
    let text = last.message.as_deref().unwrap();
    assert!(text.contains("2 leases of the group need board=rig, and the lab has 1"), "{text}");
}

#[tokio::test]
async fn a_group_made_of_objects_is_one_too_and_waits_for_its_members() {
    let lab = Lab::start().await;
    let (_rig, mut rig_feed) = device(&lab, "rig", "1").await;
    let (_psu, mut psu_feed) = device(&lab, "psu", "1").await;
    let alice = lab.client("alice").await;
    let member = |name: &str, board: &str| {
        let metadata = crate::support::lab::metadata(name, &[]);
        let mut lease = jumpstarter_model::Lease { metadata, ..Default::default() };
        lease.spec.client_ref = jumpstarter_model::LocalObjectReference::new("alice");
        lease.spec.selector =
            jumpstarter_model::Selector::parse(&format!("board={board}")).unwrap().to_label_selector();
        lease.spec.duration = Some(jumpstarter_model::GoDuration::from_secs(60));
        LeaseGroup { name: "pair".to_owned(), size: 2, same: vec![] }.write(&mut lease.metadata);
        lease
    };
    lab.write(jumpstarter_store::Write::Create(jumpstarter_store::Object::from_resource(&member("one", "rig")))).await;
    lab.await_lease("one", "incomplete", |lease| {
        let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions);
        conditions.iter().any(|found| found.reason == "GroupIncomplete")
    })
    .await;
    rig_feed.quiet().await;
    lab.write(jumpstarter_store::Write::Create(jumpstarter_store::Object::from_resource(&member("two", "psu")))).await;
    assert_eq!(rig_feed.leased().await.0, "one");
    assert_eq!(psu_feed.leased().await.0, "two");
    let moved = Lease { begin_time: Some(in_seconds(3600)), ..Lease::default() };
    assert!(alice.update("one", &["begin_time"], moved).await.is_err());
}

#[tokio::test]
async fn a_group_whose_grant_stops_anywhere_is_completed_after_a_crash() {
    // Two claims, two leases that name their exporter, two reports of exporters, and word to two that all are ready.
    for requests in 0..8 {
        let (mut lab, store) = Lab::behind(Faults::SLOW, requests, |_| ()).await;
        let (rig, mut rig_feed) = device(&lab, "rig", "1").await;
        let (psu, mut psu_feed) = device(&lab, "psu", "1").await;
        let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
        bob.create("before", for_exporter("psu")).await.unwrap();
        assert_eq!(psu_feed.leased().await.0, "before");
        alice.create_group("duo", vec![wanted("board=rig"), wanted("board=psu")], &["rack"]).await.unwrap();
        let cut = usize::try_from(requests).unwrap();
        *store.cut_naming.lock().unwrap() = Some(("duo-", cut));
        bob.delete("before").await.unwrap();
        while psu_feed.leased_or_free().await.is_some() {}
        psu.report(ExporterStatus::Available).await;
        let mut listening = Vec::new();
        if cut > 3 {
            for (exporter, feed, lease) in [(&rig, &mut rig_feed, "duo-0"), (&psu, &mut psu_feed, "duo-1")] {
                while feed.leased_or_free().await.as_deref() != Some(lease) {}
                listening.push(exporter.listen(lease).await);
                let _ = exporter.try_report(ExporterStatus::LeaseReady, None, None).await;
            }
        }
        eventually("the store is cut off", async || (store.cut_off.load(Ordering::Relaxed) > 0).then_some(())).await;
        if cut < 2 {
            // Nobody hears of a device before all are claimed.
            rig_feed.quiet().await;
            psu_feed.quiet().await;
        }
        lab.crash().await;
        *store.cut_naming.lock().unwrap() = None;
        lab.run().await;
        rig_feed = eventually("the rig comes back", async || rig.try_status().await.ok()).await;
        psu_feed = eventually("the supply comes back", async || psu.try_status().await.ok()).await;
        while rig_feed.leased_or_free().await.as_deref() != Some("duo-0") {}
        while psu_feed.leased_or_free().await.as_deref() != Some("duo-1") {}
        let _serving = (rig.serve("duo-0").await, psu.serve("duo-1").await);
        alice.await_ready("duo-0").await;
        alice.await_ready("duo-1").await;
    }
}

#[tokio::test]
async fn a_group_is_granted_whole_over_a_store_with_faults() {
    for seed in 0..4 {
        let (lab, _store) = Lab::behind(Faults { repeat: 0, cut: 0, ..Faults::MANY }, seed, |_| ()).await;
        let (rig, mut rig_feed) = device(&lab, "rig", "1").await;
        let (psu, mut psu_feed) = device(&lab, "psu", "1").await;
        let alice = lab.client("alice").await;
        let leases = || vec![wanted("board=rig"), wanted("board=psu")];
        // What cannot be created whole is taken back, and its name is used.
        let attempts = std::sync::atomic::AtomicUsize::new(0);
        let group = eventually("the group is created", async || {
            let name = format!("duo-{}", attempts.fetch_add(1, Ordering::Relaxed));
            alice.create_group(&name, leases(), &["rack"]).await.ok()
        })
        .await;
        let members = ["0", "1"].map(|number| format!("{}-{number}", group.name));
        while rig_feed.leased_or_free().await.as_ref() != Some(&members[0]) {}
        while psu_feed.leased_or_free().await.as_ref() != Some(&members[1]) {}
        let _listening = (rig.try_listen(&members[0]).await, psu.try_listen(&members[1]).await);
        for exporter in [&rig, &psu] {
            let ready = async || exporter.try_report(ExporterStatus::LeaseReady, None, None).await.ok();
            eventually("the report is taken in", ready).await;
        }
        for lease in &members {
            lab.await_lease(lease, "is ready", |lease| {
                let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions);
                jumpstarter_model::condition::is_true(conditions, "Ready")
            })
            .await;
        }
    }
}
