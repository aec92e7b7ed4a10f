//! Quotas (docs/scheduling.md): what clients see of them.

use std::time::Duration;

use jumpstarter_controller::QueueConfig;
use jumpstarter_model::{Lease as StoredLease, condition};
use jumpstarter_protocol::{client::v1::Lease, v1::ExporterStatus};
use jumpstarter_store::{Kind, Object, Write};
use serde_json::json;
use tonic::Code;

use crate::support::{
    Faults, Lab,
    client::{condition as shown, reason, seconds},
    for_exporter,
    lab::metadata,
    wanted,
};

#[tokio::test]
async fn a_lease_waits_on_a_quota_and_goes_on_when_there_is_room() {
    let (lab, _store) = Lab::behind(Faults::SLOW, 1, |_| ()).await;
    lab.quota("each", json!({"maxDevices": 1})).await;
    let (first, mut feed) = lab.available("one").await;
    let (second, mut other) = lab.available("two").await;
    let alice = lab.client("alice").await;
    alice.create("a", for_exporter("one")).await.unwrap();
    feed.leased().await;
    let _listening = first.serve("a").await;
    alice.await_ready("a").await;

    let waits = alice.create("b", for_exporter("two")).await.unwrap();
    assert_eq!(reason(&waits, "Pending"), "QuotaExceeded");
    let said = shown(&waits, "Pending").unwrap().message().to_owned();
    assert_eq!(said, "The quota each gives client alice 1 device at once, which is in use");
    assert_eq!(waits.queue.unwrap().candidates[0].reason, "OverQuota");

    // Others have the device meanwhile.
    let bob = lab.client("bob").await;
    bob.create("c", for_exporter("two")).await.unwrap();
    assert_eq!(other.leased().await.0, "c");
    let _listening = second.serve("c").await;
    bob.await_ready("c").await;

    lab.delete(Kind::LeaseQuota, "each").await;
    bob.delete("c").await.unwrap();
    while other.leased_or_free().await.is_some() {}
    second.report(ExporterStatus::Available).await;
    assert_eq!(other.leased().await.0, "b");
}

#[tokio::test]
async fn a_lease_cannot_be_extended_beyond_the_device_time_of_its_account() {
    let lab = Lab::start().await;
    lab.quota("week", json!({"maxDeviceTime": "2h", "period": "168h"})).await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let asked = |secs| Lease { duration: Some(seconds(secs)), ..for_exporter("dut") };
    alice.create("one", asked(3600)).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    alice.await_ready("one").await;
    let refused = alice.update("one", &["duration"], asked(7201)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("the quota week leaves 1h0m0s"), "{refused:?}");
    alice.update("one", &["duration"], asked(7200)).await.unwrap();
}

#[tokio::test]
async fn a_client_sees_what_its_own_accounts_use() {
    let lab = Lab::start().await;
    lab.quota("each", json!({"maxDevices": 1, "maxWaiting": 3})).await;
    lab.quota("others", json!({"clientSelector": {"matchLabels": {"team": "others"}}, "maxDevices": 1})).await;
    lab.quota("week", json!({"accountBy": "All", "maxDeviceTime": "2h", "period": "168h", "weight": 2})).await;
    let (exporter, mut feed) = lab.available("dut").await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    alice.create("one", Lease { duration: Some(seconds(3600)), ..for_exporter("dut") }).await.unwrap();
    feed.leased().await;
    let _listening = exporter.serve("one").await;
    alice.await_ready("one").await;
    bob.create("two", Lease { duration: Some(seconds(60)), ..for_exporter("dut") }).await.unwrap();

    let [each, week] = &alice.usage().await.unwrap()[..] else { panic!("two quotas are about alice") };
    assert_eq!((each.quota.as_str(), each.account.as_str()), ("each", "client alice"));
    assert_eq!((each.devices, each.max_devices, each.waiting, each.max_waiting), (1, Some(1), 0, Some(3)));
    assert_eq!((each.max_device_time, each.weight), (None, None));
    assert_eq!((week.quota.as_str(), week.account.as_str()), ("week", "all of its clients together"));
    assert_eq!((week.devices, week.max_devices, week.waiting), (1, None, 1));
    assert_eq!((week.device_time, week.max_device_time), (Some(seconds(3600)), Some(seconds(7200))));
    assert_eq!((week.period, week.weight, week.share_permille), (Some(seconds(168 * 3600)), Some(2), Some(1000)));
    let bobs = &bob.usage().await.unwrap()[0];
    assert_eq!((bobs.account.as_str(), bobs.devices, bobs.waiting), ("client bob", 0, 1));
}

#[tokio::test]
async fn a_client_with_too_many_waiting_leases_is_refused_more_and_others_are_not() {
    let lab = Lab::with(|config| {
        config.queue = QueueConfig { max_waiting: 2, longest_wait: Duration::ZERO, ..QueueConfig::default() };
    })
    .await;
    lab.exporter("away", &[("board", "away")]).await;
    let (alice, bob) = (lab.client("alice").await, lab.client("bob").await);
    for id in ["one", "two"] {
        let waits = alice.create(id, wanted("board=away")).await.unwrap();
        assert_eq!(reason(&waits, "Pending"), "Offline");
    }
    let refused = alice.create("three", wanted("board=away")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("lets client alice have 2 waiting leases"), "{refused:?}");
    // The same request again is no new lease.
    alice.create("two", wanted("board=away")).await.unwrap();
    assert_eq!(reason(&bob.create("bobs", wanted("board=away")).await.unwrap(), "Pending"), "Offline");

    // One that is made as an object is refused by a condition.
    let mut object = lab.lease("one").await;
    object.metadata = metadata("four", &[]);
    object.status = None;
    lab.write(Write::Create(Object::from_resource(&object))).await;
    let refused = lab.await_lease("four", "is refused", StoredLease::is_ended).await;
    let conditions = &refused.status.as_ref().unwrap().conditions;
    assert_eq!(condition::find(conditions, "Unsatisfiable").unwrap().reason, "TooManyWaiting");

    alice.delete("one").await.unwrap();
    alice.await_end("one").await;
    alice.create("three", wanted("board=away")).await.unwrap();
}
