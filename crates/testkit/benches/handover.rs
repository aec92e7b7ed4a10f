//! Release → next waiting lease granted, with a thousand leases waiting.

use std::time::{Duration, Instant};

use jumpstarter_testkit::{
    Lab, MINUTE,
    figures::{Samples, say},
    fleet::{Fleet, recruit},
    grpc::wanted,
};

const WAITING: usize = 1000;
const HANDOVERS: usize = 300;

fn main() {
    let lab = Lab::start();
    let client = lab.grpc_client("alice");
    let fleet = Fleet::connect(&client, recruit(&lab, "dut", 1));
    let mut heard = fleet.members()[0].heard.clone();
    for number in 0..=WAITING {
        client.create(&format!("lease-{number}"), wanted("name=dut-0", MINUTE * 600)).expect("create a lease");
    }

    let mut samples = Samples::default();
    let mut round_trips = Samples::default();
    for _ in 0..HANDOVERS {
        let held = client.block_on(async {
            let status = heard.wait_for(|status| status.leased).await.expect("the exporter is connected");
            status.lease_name().to_owned()
        });
        // Until its client would be told: the exporter's own calls are in the time, as they are in life.
        let begun = Instant::now();
        let looked = client.lease(&held).expect("look at the lease");
        round_trips.extend([begun.elapsed()]);
        assert!(looked.exporter.is_some(), "{looked:?}");
        let begun = Instant::now();
        client.delete(&held).expect("release the lease");
        client.block_on(async {
            let next = heard.wait_for(|status| status.leased && status.lease_name() != held);
            tokio::time::timeout(MINUTE, next).await.expect("a next lease").expect("the exporter is connected");
        });
        samples.extend([begun.elapsed()]);
    }
    say("handover, one call for comparison", &round_trips);
    say("handover, release → next granted (aim p99 ≤ 20 ms)", &samples);
    let over = samples.percentile(99).as_secs_f64() / Duration::from_millis(20).as_secs_f64();
    say("handover, p99 over the aim", format_args!("{over:.2}"));
}
