//! Beside replicas that are not ours.

use std::time::{Duration, Instant};

use jumpstarter_kube_testkit::ApiServer;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::api::{Patch, PatchParams, PostParams};
use tokio::time::sleep;

use crate::kit::{ELECT, Installation, LOCK};

/// What client-go writes for a holder; its clock is hours behind.
fn held_by_go() -> Lease {
    let time = Some(MicroTime(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(5)));
    Lease {
        metadata: kube::api::ObjectMeta { name: Some(LOCK.to_owned()), ..kube::api::ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some("go-controller-5d4f_0b1c".to_owned()),
            lease_duration_seconds: Some(4),
            acquire_time: time.clone(),
            renew_time: time,
            lease_transitions: Some(7),
            ..LeaseSpec::default()
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_replica_that_renews_is_left_alone_until_it_falls_silent() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let locks = lab.locks();
    locks.create(&PostParams::default(), &held_by_go()).await.unwrap();
    let replica = lab.replica(&ELECT);
    replica.says("the leader says no address").await;
    // Longer than its lease, it renews; its clock being wrong does not matter.
    let mut renewed = Instant::now();
    for _ in 0..8 {
        sleep(Duration::from_secs(1)).await;
        let time = MicroTime(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(5));
        let patch = serde_json::json!({ "spec": { "renewTime": time } });
        renewed = Instant::now();
        locks.patch(LOCK, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        assert!(!replica.said().contains("taking the lead"), "{}", replica.said());
    }
    replica.leads().await;
    assert!(renewed.elapsed() >= Duration::from_secs(4), "{:?}", renewed.elapsed());
    let spec = locks.get(LOCK).await.unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(8));
    assert_eq!(spec.lease_duration_seconds, Some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lock_was_given_to_another_steps_down() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let replica = lab.replica(&ELECT);
    replica.leads().await;
    let spec = held_by_go().spec;
    lab.locks()
        .patch(LOCK, &PatchParams::default(), &Patch::Merge(&serde_json::json!({ "spec": spec })))
        .await
        .unwrap();
    replica.says("\"msg\":\"leading no longer\"").await;
    // The annotations are of the leader before, and not believed.
    replica.says("the leader says no address").await;
    replica.says_times("\"msg\":\"leading\"", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_deleted_is_made_anew_by_who_leads() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let replica = lab.replica(&ELECT);
    replica.leads().await;
    let holder = lab.locks().get(LOCK).await.unwrap().spec.unwrap().holder_identity;
    let rival = lab.replica(&ELECT);
    rival.port().await;
    lab.locks().delete(LOCK, &kube::api::DeleteParams::default()).await.unwrap();
    let since = Instant::now();
    let lock = loop {
        if let Some(lock) = lab.locks().get_opt(LOCK).await.unwrap() {
            break lock;
        }
        assert!(since.elapsed() < crate::kit::LONG, "it is not made anew");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(lock.spec.unwrap().holder_identity, holder);
    assert!(!replica.said().contains("leading no longer"), "{}", replica.said());
    assert!(!rival.said().contains("taking the lead"), "{}", rival.said());
}
