//! Reservations of scheduled leases: refused where they clash, kept over a restart of the controller.

use jumpstarter_model::MaintenanceWindow;
use jumpstarter_protocol::client::v1::Lease;
use jumpstarter_store::{Object, Write};
use tonic::Code;

use crate::support::{
    Lab,
    client::{condition, in_seconds, reason, seconds},
    eventually, for_exporter,
};

fn ahead(begin: i64, length: i64) -> Lease {
    Lease { begin_time: Some(in_seconds(begin)), duration: Some(seconds(length)), ..for_exporter("dut") }
}

#[tokio::test]
async fn a_time_that_is_taken_is_refused_with_the_alternatives() {
    let lab = Lab::start().await;
    lab.exporter("dut", &[("board", "dut")]).await;
    let alice = lab.client("alice").await;
    let first = alice.create("first", ahead(3600, 600)).await.unwrap();
    assert_eq!(reason(&first, "Pending"), "Scheduled");
    let told = condition(&first, "Pending").unwrap().message().to_owned();
    assert!(told.ends_with("the exporter dut is reserved for it"), "{told}");

    let refused = alice.create("second", ahead(3900, 600)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for part in ["exporter dut is reserved for lease first", "Next begins that would do"] {
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    alice.create("second", ahead(7200, 600)).await.unwrap();
    let moved = Lease { begin_time: Some(in_seconds(3900)), ..Lease::default() };
    let refused = alice.update("second", &["begin_time"], moved).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{}", refused.message());
}

#[tokio::test]
async fn a_running_lease_is_not_extended_into_a_reservation() {
    let lab = Lab::start().await;
    let (_exporter, _feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let running = Lease { duration: Some(seconds(600)), ..for_exporter("dut") };
    alice.create("running", running).await.unwrap();
    alice.create("ahead", ahead(3600, 600)).await.unwrap();
    let longer = |length| Lease { duration: Some(seconds(length)), ..Lease::default() };
    alice.update("running", &["duration"], longer(1800)).await.unwrap();
    let refused = alice.update("running", &["duration"], longer(7200)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("reserved for lease ahead"), "{}", refused.message());
}

#[tokio::test]
async fn a_window_that_was_mended_says_so_once() {
    let lab = Lab::start().await;
    let spec = serde_json::json!({ "exporters": ["dut"], "schedule": "0 22 * * 5", "duration": "1h" });
    let told = serde_json::json!([{
        "type": "Invalid", "status": "True", "reason": "BadSchedule", "message": "as it was before",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    }]);
    let manifest = |name: &str| {
        let metadata = serde_json::json!({ "name": name, "namespace": crate::support::lab::NAMESPACE });
        let (api, kind) = ("jumpstarter.dev/v1alpha1", "MaintenanceWindow");
        let object = serde_json::json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec });
        Object::from_value(object).unwrap()
    };
    lab.write(Write::Create(manifest("sound"))).await;
    let created = lab.write(Write::Create(manifest("mended"))).await;
    let mut wrong = created.into_value();
    wrong["status"] = serde_json::json!({ "conditions": told });
    lab.write(Write::UpdateStatus(Object::from_value(wrong).unwrap())).await;
    let window = async |name| lab.get::<MaintenanceWindow>(name).await.unwrap();
    let mended = eventually("the status says that it was mended", async || {
        let window = window("mended").await;
        let told = window.status.as_ref()?.conditions.first()?;
        ((told.status.as_str(), told.reason.as_str()) == ("False", "Valid")).then_some(window)
    })
    .await;
    // Whatever would be written again would be by the time that a lease is decided.
    let alice = lab.client("alice").await;
    let _ = alice.create("next", for_exporter("dut")).await;
    assert_eq!(window("mended").await.metadata.resource_version, mended.metadata.resource_version);
    assert_eq!(window("sound").await.status, None, "of what makes sense nothing is said");
}
