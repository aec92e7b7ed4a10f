//! Registration and the Status stream (protocol.md §4.2, §4.3, §10.3, §10.4).

use jumpstarter_protocol::v1::ExporterStatus;
use tonic::Code;

use crate::support::{Lab, client::wanted, for_exporter};

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
async fn a_lease_is_told_and_its_end_too() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    assert_eq!(feed.leased().await, ("one".to_owned(), "alice".to_owned()));
    let _listening = exporter.serve("one").await;
    alice.await_ready("one").await;
    alice.delete("one").await.unwrap();
    feed.free().await;
    let _ = (wanted("a"), Code::Ok, ExporterStatus::Available);
}
