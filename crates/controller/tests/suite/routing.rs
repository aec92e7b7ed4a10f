//! Which router a dial is sent to while routers come, drain and go (protocol.md §6.6).

use std::collections::BTreeMap;

use jumpstarter_controller::RouterTarget;
use jumpstarter_protocol::{
    router::v1::router_status::State,
    v1::{ExporterStatus, ListenResponse},
};
use tonic::{Code, Streaming};

use crate::support::{
    FakeClient, FakeExporter, Lab, StatusFeed, eventually,
    exporter::offer,
    for_exporter,
    router::{FakeRouter, Kind},
};

/// A lab with a lease that is being listened for.
struct Dialled {
    lab: Lab,
    alice: FakeClient,
    offers: Streaming<ListenResponse>,
    _exporter: (FakeExporter, StatusFeed),
}

impl Dialled {
    async fn start() -> Self {
        let lab = Lab::with(|config| config.live.change(|live| live.routers.clear())).await;
        let (exporter, mut feed) = lab.available("dut").await;
        let alice = lab.client("alice").await;
        alice.create("one", for_exporter("dut")).await.unwrap();
        feed.leased().await;
        exporter.report(ExporterStatus::LeaseReady).await;
        alice.await_ready("one").await;
        let offers = exporter.listen("one").await;
        Self { lab, alice, offers, _exporter: (exporter, feed) }
    }

    /// Changes the list of routers while the controller runs.
    fn hand_out(&self, routers: &[&FakeRouter]) {
        let target = |router: &&FakeRouter| RouterTarget {
            endpoint: router.address.clone(),
            labels: BTreeMap::new(),
            probe: true,
        };
        self.lab.config.live.change(|live| live.routers = routers.iter().map(target).collect());
    }

    /// Where the next dial is sent.
    async fn dial(&mut self) -> Result<String, tonic::Status> {
        let dialled = self.alice.dial("one").await?;
        assert_eq!(offer(&mut self.offers).await.router_endpoint, dialled.router_endpoint);
        Ok(dialled.router_endpoint)
    }

    /// Waits until so many dials in a row are sent to this router.
    async fn only(&mut self, router: &FakeRouter) {
        let mut in_a_row = 0;
        eventually("dials go to one router", async || {
            in_a_row =
                if self.dial().await.is_ok_and(|endpoint| endpoint == router.address) { in_a_row + 1 } else { 0 };
            (in_a_row == 5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_router_that_dies_gets_no_dials_until_it_is_back() {
    let mut lab = Dialled::start().await;
    let mut first = FakeRouter::start(&lab.lab, Kind::Ours).await;
    let second = FakeRouter::start(&lab.lab, Kind::Ours).await;
    lab.hand_out(&[&first, &second]);
    second.tell(|status| status.open_streams = 500);
    lab.only(&first).await;
    first.down().await;
    lab.only(&second).await;
    first.up().await;
    lab.only(&first).await;
}

#[tokio::test]
async fn a_draining_router_gets_no_dials_and_when_all_drain_a_dial_is_told_so() {
    let mut lab = Dialled::start().await;
    let first = FakeRouter::start(&lab.lab, Kind::Ours).await;
    let second = FakeRouter::start(&lab.lab, Kind::Ours).await;
    lab.hand_out(&[&first, &second]);
    second.tell(|status| status.open_streams = 500);
    lab.only(&first).await;
    first.tell(|status| status.state = State::Draining.into());
    lab.only(&second).await;
    second.tell(|status| status.state = State::Draining.into());
    let refused = eventually("all drain", async || lab.dial().await.err()).await;
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("every router is about to stop"), "{refused}");
    // Another process has taken over at the same address.
    first.tell(|status| status.state = State::Serving.into());
    lab.only(&first).await;
}

#[tokio::test]
async fn a_full_router_is_passed_over() {
    let mut lab = Dialled::start().await;
    let full = FakeRouter::start(&lab.lab, Kind::Ours).await;
    let busy = FakeRouter::start(&lab.lab, Kind::Ours).await;
    full.tell(|status| (status.open_streams, status.max_streams) = (10, 10));
    busy.tell(|status| status.open_streams = 900);
    lab.hand_out(&[&full, &busy]);
    lab.only(&busy).await;
}

#[tokio::test]
async fn a_router_without_a_state_to_tell_is_used_while_it_answers() {
    let mut lab = Dialled::start().await;
    let mut foreign = FakeRouter::start(&lab.lab, Kind::Foreign).await;
    let busy = FakeRouter::start(&lab.lab, Kind::Ours).await;
    busy.tell(|status| status.open_streams = 900);
    lab.hand_out(&[&foreign, &busy]);
    lab.only(&foreign).await;
    foreign.down().await;
    lab.only(&busy).await;
}

#[tokio::test]
async fn routers_come_and_go_with_the_settings() {
    let mut lab = Dialled::start().await;
    let first = FakeRouter::start(&lab.lab, Kind::Ours).await;
    let second = FakeRouter::start(&lab.lab, Kind::Ours).await;
    first.tell(|status| status.open_streams = 500);
    lab.hand_out(&[&first]);
    lab.only(&first).await;
    lab.hand_out(&[&first, &second]);
    lab.only(&second).await;
    lab.hand_out(&[&first]);
    lab.only(&first).await;
    eventually("the removed router is left alone", async || (second.watches() == 0).then_some(())).await;
    lab.lab.stop().await;
    eventually("the watch ends with the controller", async || (first.watches() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_router_with_another_key_is_passed_over() {
    let mut lab = Dialled::start().await;
    let strange = FakeRouter::start(&Lab::start().await, Kind::Ours).await;
    let busy = FakeRouter::start(&lab.lab, Kind::Ours).await;
    busy.tell(|status| status.open_streams = 900);
    lab.hand_out(&[&strange, &busy]);
    lab.only(&busy).await;
}
