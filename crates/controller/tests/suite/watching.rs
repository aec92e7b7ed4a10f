//! WatchLease: what is told, when it ends, and that nothing stays behind.

use jumpstarter_protocol::{client::v1::Lease, v1::ExporterStatus};
use tonic::{Code, Streaming};

use crate::support::{
    Lab,
    client::{is_true, path},
    for_exporter, soon,
};

/// The next word of a watch.
async fn told(watch: &mut Streaming<Lease>) -> Lease {
    soon("news of the lease", watch.message()).await.unwrap().expect("the watch goes on")
}

/// Listens until a lease satisfies `condition`.
async fn told_that(watch: &mut Streaming<Lease>, condition: impl Fn(&Lease) -> bool) -> Lease {
    loop {
        let lease = told(watch).await;
        if condition(&lease) {
            return lease;
        }
    }
}

fn position(lease: &Lease) -> Option<u32> {
    lease.queue.as_ref().map(|queue| queue.position)
}

#[tokio::test]
async fn a_watch_tells_of_the_queue_and_of_the_exporter_and_ends_with_the_lease() {
    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let (alice, bob, carol) = (lab.client("alice").await, lab.client("bob").await, lab.client("carol").await);
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    bob.create("two", for_exporter("dut")).await.unwrap();
    carol.create("three", for_exporter("dut")).await.unwrap();

    let mut watch = carol.watch("three").await.unwrap();
    let first = told(&mut watch).await;
    assert_eq!(first.name, path("leases", "three"));
    assert_eq!(position(&first), Some(2));

    // Nothing about this lease has changed but its place.
    bob.delete("two").await.unwrap();
    told_that(&mut watch, |lease| position(lease) == Some(1)).await;

    alice.delete("one").await.unwrap();
    feed.free().await;
    exporter.report(ExporterStatus::Available).await;
    let assigned = told_that(&mut watch, |lease| lease.exporter.is_some()).await;
    assert_eq!(position(&assigned), None);
    feed.leased().await;
    let _listening = exporter.serve("three").await;
    told_that(&mut watch, |lease| is_true(lease, "Ready")).await;

    carol.delete("three").await.unwrap();
    told_that(&mut watch, |lease| lease.effective_end_time.is_some()).await;
    assert!(soon("the watch ends", watch.message()).await.unwrap().is_none(), "with OK");

    // Of a lease that has ended there is one thing to say.
    let mut late = alice.watch("one").await.unwrap();
    assert!(told(&mut late).await.effective_end_time.is_some());
    assert!(soon("the watch ends", late.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn watches_are_refused_in_words_and_end_with_the_service() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let refused = async |name: &str| alice.watch(name).await.err().map(|status| status.code());
    assert_eq!(refused("none").await, Some(Code::NotFound));
    assert_eq!(refused("").await, Some(Code::InvalidArgument));
    let mut stranger = alice.clone();
    "wrong".clone_into(&mut stranger.identity.token);
    assert_eq!(stranger.watch("none").await.err().map(|status| status.code()), Some(Code::Unauthenticated));

    let (_exporter, _feed) = lab.available("dut").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    let mut watch = alice.watch("one").await.unwrap();
    told(&mut watch).await;
    lab.stop_streams();
    let end = loop {
        match soon("the end of the watch", watch.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a watch of a lease that lives does not end with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
}
