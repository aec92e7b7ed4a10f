//! While the API server is away.

use std::time::{Duration, Instant};

use jumpstarter_kube_testkit::ApiServer;

use tokio::time::sleep;

use crate::kit::{ELECT, Installation, LOCK, LONG, call, is_served};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_answers_steps_down_and_comes_back() {
    let api = ApiServer::start().await;
    let lab = Installation::new(&api).await;
    let replica = lab.replica(&ELECT);
    let port = replica.port().await;
    call(&port).await.unwrap();

    api.pause();
    let paused = Instant::now();
    replica.says("\"msg\":\"leading no longer\"").await;
    let took = paused.elapsed();
    // Renewed at most two seconds before, it leads for seven seconds and needs three to be certainly done.
    assert!(took >= Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");

    api.resume();
    replica.says_times("\"msg\":\"leading\"", 2).await;
    is_served(&port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_api_server_changes_nothing() {
    let api = ApiServer::start().await;
    let lab = Installation::new(&api).await;
    let replica = lab.replica(&[
        "--leader-elect",
        "--leader-election-lease-duration=60s",
        "--leader-election-renew-deadline=50s",
    ]);
    let port = replica.port().await;
    api.stop();
    call(&port).await.unwrap();
    api.up();
    let renewed = async || lab.locks().get(LOCK).await.ok()?.spec?.renew_time;
    let since = Instant::now();
    let mut first = None;
    while first.is_none() || renewed().await.is_none_or(|now| Some(now) == first) {
        first = first.or(renewed().await);
        assert!(since.elapsed() < LONG, "the lock is not renewed:\n{}", replica.said());
        sleep(Duration::from_millis(50)).await;
    }
    call(&port).await.unwrap();
    assert!(!replica.said().contains("leading no longer"), "{}", replica.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_waits_for_an_api_server_that_comes_later() {
    let api = ApiServer::start().await;
    let lab = Installation::new(&api).await;
    api.stop();
    let replica = lab.replica(&ELECT);
    replica.says("the API server does not answer, waiting").await;
    api.up();
    call(&replica.port().await).await.unwrap();
}
