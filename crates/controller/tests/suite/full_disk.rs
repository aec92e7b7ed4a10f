//! A store that takes no more: what is written stays true, and nobody is kept waiting.

use jumpstarter_protocol::{
    client::v1::{Lease, ListLeasesRequest},
    v1::ExporterStatus,
};
use jumpstarter_store::EmbeddedOptions;
use tokio::time::Instant;
use tonic::Code;

use crate::support::{LIMIT, Lab, client::seconds, for_exporter};

#[tokio::test]
async fn a_full_disk_is_said_and_what_is_there_stays_usable() {
    let options = EmbeddedOptions { max_bytes: Some(512 * 1024), ..EmbeddedOptions::default() };
    let lab = Lab::over(options, |store| std::sync::Arc::new(store), |_| ()).await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    // It ends while the disk is full, which cannot be written either.
    alice.create("short", Lease { duration: Some(seconds(3)), ..for_exporter("dut") }).await.unwrap();
    feed.leased().await;
    let context: std::collections::HashMap<_, _> = (0..8).map(|key| (format!("k{key}"), "x".repeat(64))).collect();
    let mut created = 0;
    let refused = loop {
        let lease = Lease { context: context.clone(), ..for_exporter("dut") };
        match alice.create(&format!("lease-{created}"), lease).await {
            Ok(_) => created += 1,
            Err(refused) => break refused,
        }
        assert!(created < 2000, "half a megabyte has no end");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(!refused.message().is_empty());
    let listed = alice.list(ListLeasesRequest { page_size: 2000, ..ListLeasesRequest::default() }).await.unwrap();
    assert!(listed.leases.len() >= created, "{} of {created}", listed.leases.len());

    let end = lab.lease("short").await.status.unwrap().begin_time.unwrap().0.as_second() + 3;
    while crate::support::lab::now().as_second() <= end {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Decisions that cannot be stored are taken again in a while; calls go on meanwhile.
    let started = Instant::now();
    for _ in 0..20 {
        alice.exporter("dut", false).await.unwrap();
        let again = alice.create("one more", for_exporter("dut")).await.unwrap_err();
        assert_eq!(again.code(), Code::InvalidArgument);
        let more = Lease { context: context.clone(), ..for_exporter("dut") };
        let _ = alice.create("more", more).await;
    }
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    // An exporter drops a report that is answered with anything else.
    if let Err(lost) = exporter.try_report(ExporterStatus::LeaseReady, Some(&"m".repeat(2000)), None).await {
        assert_eq!(lost.code(), Code::Unavailable, "{lost}");
    }
}
