//! Reservations of scheduled leases: refused where they clash, kept over a restart of the controller.

use jumpstarter_protocol::client::v1::Lease;
use tonic::Code;

use crate::support::{
    Lab,
    client::{condition, in_seconds, reason, seconds},
    for_exporter,
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
