//! Devices that fail (docs/scheduling.md): what exporters, clients and administrators see of a quarantine.

use jiff::SignedDuration;
use jumpstarter_model::{Exporter, condition};
use jumpstarter_protocol::v1::ExporterStatus;
use jumpstarter_scheduler::transition;
use jumpstarter_store::Kind;

use crate::support::{
    FakeExporter, Lab, StatusFeed,
    client::{for_exporter, reason, wanted},
};

fn told(exporter: &Exporter) -> String {
    let conditions = exporter.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, "Quarantined")
        .map_or(String::new(), |found| format!("{} {}", found.status, found.reason))
}

/// A lab with a quarantine of two seconds and the exporters `bad` and `good`.
async fn scene() -> (Lab, [(FakeExporter, StatusFeed); 2]) {
    let lab = Lab::with(|config| config.quarantine.time = SignedDuration::from_secs(2)).await;
    let mut exporters = Vec::new();
    for name in ["bad", "good"] {
        let exporter = lab.exporter(name, &[("board", name), ("pool", "x")]).await;
        let feed = exporter.come_online().await;
        lab.await_online(name, true).await;
        exporters.push((exporter, feed));
    }
    (lab, exporters.try_into().ok().unwrap())
}

/// The next lease of the exporter begins and its hook fails, which ends it.
async fn fail(exporter: &FakeExporter, feed: &mut StatusFeed) {
    feed.leased().await;
    exporter.report(ExporterStatus::BeforeLeaseHook).await;
    exporter.try_report(ExporterStatus::BeforeLeaseHookFailed, Some("no power"), None).await.unwrap();
    exporter.try_report(ExporterStatus::BeforeLeaseHookFailed, Some("no power"), Some(true)).await.unwrap();
    feed.free().await;
    exporter.report(ExporterStatus::Available).await;
}

#[tokio::test]
async fn a_device_whose_hooks_fail_is_kept_back_until_a_check_passes() {
    let (mut lab, [(bad, mut bad_feed), (good, mut good_feed)]) = scene().await;
    let alice = lab.client("alice").await;
    for number in 0..3 {
        let name = format!("fails-{number}");
        alice.create(&name, for_exporter("bad")).await.unwrap();
        fail(&bad, &mut bad_feed).await;
        alice.await_end(&name).await;
    }
    let kept = lab.await_exporter("bad", "is quarantined", |bad| told(bad) == "True HookFailures").await;
    let conditions = kept.status.unwrap().conditions;
    let message = &condition::find(&conditions, "Quarantined").unwrap().message;
    assert!(message.contains("fails-2") && message.contains("no power"), "{message}");

    // Everybody else goes to the other one, although it was used later.
    for number in 0..2 {
        let name = format!("works-{number}");
        alice.create(&name, wanted("pool=x")).await.unwrap();
        assert_eq!(good_feed.leased().await.0, name);
        let _listening = good.serve(&name).await;
        alice.await_ready(&name).await;
        alice.delete(&name).await.unwrap();
        good_feed.free().await;
        good.report(ExporterStatus::Available).await;
    }

    // What is needed to go on is stored.
    lab.restart().await;
    let mut bad_feed = bad.come_online().await;
    let (check, client) = bad_feed.leased().await;
    assert!(check.starts_with("check-bad-"), "{check}");
    assert_eq!(client, transition::MAINTENANCE_CLIENT);
    bad.report(ExporterStatus::BeforeLeaseHook).await;
    bad.report(ExporterStatus::LeaseReady).await;
    bad_feed.free().await;
    bad.report(ExporterStatus::Available).await;
    let back = lab.await_exporter("bad", "is given out again", |bad| told(bad) == "False CheckPassed").await;
    assert_eq!(back.status.unwrap().health.unwrap_or_default().score, 0);
    let events = lab.events.reasons(Kind::Exporter, "bad");
    assert!(events.contains(&"Quarantined") && events.contains(&"QuarantineLifted"), "{events:?}");
    alice.create("after", for_exporter("bad")).await.unwrap();
    assert_eq!(bad_feed.leased().await.0, "after");
}

#[tokio::test]
async fn an_operator_quarantines_by_an_annotation() {
    let (lab, [(_bad, mut feed), _]) = scene().await;
    let annotate = |key: &'static str, value: Option<&'static str>| {
        move |exporter: &mut Exporter| {
            let annotations = exporter.metadata.annotations.get_or_insert_default();
            match value {
                Some(value) => _ = annotations.insert(key.to_owned(), value.to_owned()),
                None => _ = annotations.remove(key),
            }
        }
    };
    lab.edit("bad", annotate(transition::QUARANTINE_REASON, Some("new cable"))).await;
    lab.edit("bad", annotate(transition::QUARANTINE, Some("true"))).await;
    lab.await_exporter("bad", "is quarantined", |bad| told(bad) == "True ByHand").await;
    let alice = lab.client("alice").await;
    let waits = alice.create("one", for_exporter("bad")).await.unwrap();
    assert_eq!(reason(&waits, "Pending"), "Quarantined");
    lab.edit("bad", annotate(transition::QUARANTINE, None)).await;
    assert_eq!(feed.leased().await.0, "one");
    lab.await_exporter("bad", "is given out again", |bad| told(bad) == "False QuarantineOver").await;
}
