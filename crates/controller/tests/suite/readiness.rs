//! Between assignment and Ready, and the order of conditions (protocol.md §5.1, §5.2; kubernetes.md §3.3).

use std::time::Duration;

use jumpstarter_model::{ExporterPhase, condition::is_true as is_set};
use jumpstarter_protocol::{client::v1::Lease, v1::ExporterStatus};
use tokio::time::Instant;

use crate::support::{
    Lab,
    client::{condition, is_true},
    for_exporter,
};

/// As the scheduler has it: how long an exporter may take to react.
const REACTION: Duration = Duration::from_secs(3);

fn last(lease: &Lease) -> &str {
    lease.conditions.last().unwrap().r#type()
}

#[tokio::test]
async fn a_running_hook_holds_ready_back_until_it_is_over() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    exporter.report(ExporterStatus::BeforeLeaseHook).await;
    // Well past the time in which an exporter without hooks must have reacted.
    let until = Instant::now() + REACTION + Duration::from_millis(500);
    while Instant::now() < until {
        let lease = lab.lease("one").await.status.unwrap();
        assert!(!is_set(&lease.conditions, "Ready"), "{:?}", lease.conditions);
        assert_eq!(lease.conditions[0].reason, "Preparing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    exporter.report(ExporterStatus::LeaseReady).await;
    let lease = alice.await_ready("one").await;
    assert!(is_true(&lease, "Pending"), "a Pending that was is never cleared");
    assert_eq!(last(&lease), "Ready");
    assert_eq!(lease.effective_end_time, None);
}

#[tokio::test]
async fn a_hook_may_not_hold_ready_back_for_ever() {
    let lab = Lab::with(|config| config.hook_limit = Duration::from_secs(1)).await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    exporter.report(ExporterStatus::BeforeLeaseHook).await;
    alice.await_ready("one").await;
}

#[tokio::test]
async fn an_exporter_that_never_reacts_is_called_ready_after_a_moment() {
    let lab = Lab::start().await;
    let (_exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let created = alice.create("one", for_exporter("dut")).await.unwrap();
    assert!(!is_true(&created, "Ready"));
    assert_eq!(created.exporter.as_deref(), Some("namespaces/lab/exporters/dut"));
    feed.leased().await;
    let lease = alice.await_ready("one").await;
    assert_eq!(last(&lease), "Ready");
}

#[tokio::test]
async fn a_lease_of_a_silent_peer_is_ready_at_once() {
    let lab = Lab::start().await;
    let exporter = lab.exporter("dut", &[("board", "dut")]).await;
    exporter.register().await;
    let _feed = exporter.status().await;
    lab.await_online("dut", true).await;
    let lease = lab.client("alice").await.create("one", for_exporter("dut")).await.unwrap();
    assert!(is_true(&lease, "Ready"), "{:?}", lease.conditions);
    assert_eq!(condition(&lease, "Pending"), None, "it never waited");
}

#[tokio::test]
async fn a_failed_hook_shows_in_the_lease_that_it_ends() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    exporter.report(ExporterStatus::BeforeLeaseHook).await;
    let text = "hook said: licence expired";
    exporter.try_report(ExporterStatus::BeforeLeaseHookFailed, Some(text), None).await.unwrap();
    lab.await_exporter("dut", "failed", |exporter| {
        exporter.status.as_ref().unwrap().exporter_status == Some(ExporterPhase::BeforeLeaseHookFailed)
    })
    .await;
    exporter.release("one").await.unwrap();
    let ended = alice.await_end("one").await;
    let ready = condition(&ended, "Ready").unwrap();
    assert_eq!((ready.status(), ready.reason()), ("False", "Released"));
    assert!(ready.message().contains("hook said: licence"), "{}", ready.message());
    assert!(!ready.message().to_lowercase().contains("expired"), "clients take the word for a token's");
    assert_eq!(last(&ended), "Ready");
    assert!(ended.effective_end_time.is_some());
}
