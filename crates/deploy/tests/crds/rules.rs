//! Every rule of the schemas with objects that keep it and objects that break it.

use serde_json::{Map, Value, json};

use crate::lab::{Lab, condition};

const TARGET: &str = "one of selector or exporterRef.name is required";
const TAGS: &str = "tags are immutable after creation";
const CONTEXT: &str = "context is immutable after creation";
const CONTEXT_SIZE: &str = "context keys max 32 chars, values max 64 chars";

fn pinned(more: Value) -> Value {
    let mut spec = json!({ "clientRef": { "name": "alice" }, "exporterRef": { "name": "rig" } });
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, more: Value) {
    let (Value::Object(into), Value::Object(more)) = (into, more) else { panic!("two objects") };
    into.extend(more);
}

fn many(count: usize) -> Value {
    Value::Object((0..count).map(|index| (format!("k{index}"), json!("v"))).collect::<Map<_, _>>())
}

/// `Ok`, or the part of the message that must be in it.
#[track_caller]
fn check(outcome: &Result<Value, String>, wanted: Result<(), &str>, case: &str) {
    match (outcome, wanted) {
        (Ok(_), Ok(())) => {}
        (Err(said), Err(text)) => assert!(said.contains(text), "{case}: {said}"),
        (outcome, wanted) => panic!("{case}: wanted {wanted:?}, got {outcome:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota() {
    let lab = Lab::new().await;
    let cases = [
        (json!({ "maxDevices": 0, "accountBy": "All" }), Ok(())),
        (json!({ "maxDeviceTime": "1h30m", "period": "744h", "maxWaiting": 5 }), Ok(())),
        (json!({ "weight": 1000, "accountBy": "Label", "accountLabel": "team" }), Ok(())),
        (json!({}), Err("one of maxDevices, maxDeviceTime, maxWaiting and weight is required")),
        (json!({ "maxDevices": -1 }), Err("maxDevices must not be negative")),
        (json!({ "maxWaiting": -1 }), Err("maxWaiting must not be negative")),
        (json!({ "weight": 0 }), Err("weight must be from 1 to 1000")),
        (json!({ "weight": 1001 }), Err("weight must be from 1 to 1000")),
        (json!({ "maxDeviceTime": "1h" }), Err("maxDeviceTime and period go together")),
        (json!({ "period": "1h", "weight": 1 }), Err("maxDeviceTime and period go together")),
        (json!({ "maxDeviceTime": "-1h", "period": "1h" }), Err("maxDeviceTime must not be negative")),
        (json!({ "maxDeviceTime": "1h", "period": "59s" }), Err("period must be from 1m to 744h (31 days)")),
        (json!({ "maxDeviceTime": "1h", "period": "745h" }), Err("period must be from 1m to 744h (31 days)")),
        (json!({ "weight": 1, "accountBy": "Label" }), Err("accountLabel goes with accountBy: Label")),
        (json!({ "weight": 1, "accountLabel": "team" }), Err("accountLabel goes with accountBy: Label")),
        (json!({ "weight": 1, "accountBy": "Team" }), Err("spec.accountBy")),
        (json!({ "weight": "heavy" }), Err("spec.weight")),
    ];
    for (index, (spec, wanted)) in cases.into_iter().enumerate() {
        let case = spec.to_string();
        check(&lab.create("LeaseQuota", &format!("q{index}"), &spec), wanted, &case);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maintenance_window() {
    let lab = Lab::new().await;
    let target = "one of exporterSelector or exporters is required";
    let time = "exactly one of schedule and start is required";
    let positive = "duration is required and must be positive";
    let start = "2026-05-04T22:00:00Z";
    let cases = [
        (json!({ "exporterSelector": {}, "start": start, "duration": "4h" }), Ok(())),
        // A time that is over is for the controller to judge: it blocks nothing.
        (json!({ "exporters": ["rig"], "start": "2020-01-02T03:04:05Z", "duration": "1s" }), Ok(())),
        (
            json!({
                "exporters": ["rig"], "schedule": "0 22 * * 5", "timeZone": "Europe/Berlin", "duration": "1h30m",
                "reason": "firmware", "clientSelector": { "matchLabels": { "role": "maintainer" } },
            }),
            Ok(()),
        ),
        // CEL knows nothing of schedules and zones: the condition `Invalid` says what is wrong.
        (json!({ "exporters": ["rig"], "schedule": "whenever", "duration": "1h" }), Ok(())),
        (json!({ "exporters": ["rig"], "schedule": "0 * * * *", "duration": "2h" }), Ok(())),
        (json!({ "start": start, "duration": "4h" }), Err(target)),
        (json!({ "exporters": [], "start": start, "duration": "4h" }), Err(target)),
        (json!({ "exporterSelector": {}, "duration": "4h" }), Err(time)),
        (json!({ "exporterSelector": {}, "start": start, "schedule": "0 22 * * 5", "duration": "4h" }), Err(time)),
        (
            json!({ "exporterSelector": {}, "start": start, "timeZone": "UTC", "duration": "4h" }),
            Err("timeZone goes with schedule only"),
        ),
        (json!({ "exporterSelector": {}, "start": start }), Err(positive)),
        (json!({ "exporterSelector": {}, "start": start, "duration": "0s" }), Err(positive)),
        (json!({ "exporterSelector": {}, "start": start, "duration": "-1h" }), Err(positive)),
        (json!({ "exporterSelector": {}, "start": "tonight", "duration": "1h" }), Err("spec.start")),
        (json!({ "exporterSelector": {}, "schedule": "1".repeat(257), "duration": "1h" }), Err("spec.schedule")),
        (
            json!({ "exporterSelector": {}, "start": start, "duration": "1h", "reason": "r".repeat(257) }),
            Err("spec.reason"),
        ),
    ];
    for (index, (spec, wanted)) in cases.into_iter().enumerate() {
        let case = spec.to_string();
        check(&lab.create("MaintenanceWindow", &format!("w{index}"), &spec), wanted, &case);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_lease() {
    let lab = Lab::new().await;
    let client = json!({ "name": "alice" });
    let cases = [
        (json!({ "clientRef": client, "selector": { "matchLabels": { "a": "b" } } }), Ok(())),
        (
            json!({ "clientRef": client, "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists" }] } }),
            Ok(()),
        ),
        (pinned(json!({})), Ok(())),
        (pinned(json!({ "selector": null })), Ok(())),
        (json!({ "clientRef": client }), Err(TARGET)),
        (json!({ "clientRef": client, "selector": {} }), Err(TARGET)),
        (json!({ "clientRef": client, "selector": { "matchLabels": {}, "matchExpressions": [] } }), Err(TARGET)),
        (json!({ "clientRef": client, "exporterRef": {} }), Err(TARGET)),
        (json!({ "clientRef": client, "exporterRef": { "name": "" } }), Err(TARGET)),
        (json!({ "exporterRef": { "name": "rig" } }), Err("spec.clientRef: Required value")),
        (pinned(json!({ "tags": many(10), "context": many(8) })), Ok(())),
        (pinned(json!({ "tags": many(11) })), Err("must have at most 10 items")),
        (pinned(json!({ "context": many(9) })), Err("must have at most 8 items")),
        (pinned(json!({ "context": { "k".repeat(32): "v".repeat(64) } })), Ok(())),
        // Characters count, not bytes.
        (pinned(json!({ "context": { "k": "é".repeat(64) } })), Ok(())),
        (pinned(json!({ "context": { "k".repeat(33): "v" } })), Err(CONTEXT_SIZE)),
        (pinned(json!({ "context": { "k": "v".repeat(65) } })), Err(CONTEXT_SIZE)),
        (pinned(json!({ "beginTime": "2026-01-02T03:04:05.5+01:00", "duration": "anything at all" })), Ok(())),
        (pinned(json!({ "beginTime": "tomorrow" })), Err("spec.beginTime")),
        (pinned(json!({ "release": "yes" })), Err("spec.release")),
        (
            pinned(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "Perhaps" }] } })),
            Ok(()), // Any operator passes the schema; the controller says what it thinks of it.
        ),
        (pinned(json!({ "selector": { "matchExpressions": [{ "key": "a" }] } })), Err("operator: Required value")),
    ];
    for (index, (spec, wanted)) in cases.into_iter().enumerate() {
        check(&lab.create("Lease", &format!("l{index}"), &spec), wanted, &spec.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_lease() {
    let lab = Lab::new().await;
    let one = json!({ "a": "1" });
    let two = json!({ "a": "2" });
    let cases = [
        (json!({}), json!({ "tags": one, "context": one }), Ok(())),
        (json!({ "tags": one }), json!({ "tags": one, "release": true }), Ok(())),
        (json!({ "tags": one }), json!({ "tags": two }), Err(TAGS)),
        (json!({ "tags": one }), json!({ "tags": { "a": "1", "b": "2" } }), Err(TAGS)),
        (json!({ "tags": one }), json!({}), Err(TAGS)),
        (json!({ "context": one }), json!({ "context": one }), Ok(())),
        (json!({ "context": one }), json!({ "context": two }), Err(CONTEXT)),
        (json!({ "context": one }), json!({}), Err(CONTEXT)),
        (json!({}), json!({ "context": { "k": "v".repeat(65) } }), Err(CONTEXT_SIZE)),
        (json!({}), json!({ "exporterRef": null }), Err(TARGET)),
        (json!({}), json!({ "exporterRef": null, "selector": { "matchLabels": { "a": "b" } } }), Ok(())),
        (
            json!({}),
            json!({ "clientRef": { "name": "bob" }, "duration": "2h", "endTime": "2030-01-02T03:04:05Z" }),
            Ok(()),
        ),
    ];
    for (index, (before, after, wanted)) in cases.into_iter().enumerate() {
        let case = format!("{before} -> {after}");
        let mut lease = lab.create("Lease", &format!("l{index}"), &pinned(before)).expect("the lease before");
        lease["spec"] = pinned(after);
        lease["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
        check(&lab.replace(&lease), wanted, &case);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_status_must_say() {
    let lab = Lab::new().await;
    let lease = lab.create("Lease", "l", &pinned(json!({}))).expect("a lease");
    let exporter = lab.create("Exporter", "e", &json!({})).expect("an exporter");
    let changed = |base: &Value, change: Value| {
        let mut condition = condition("Ready", "True", "Ready");
        merge(&mut condition, change);
        let mut status = base.clone();
        merge(&mut status, json!({ "conditions": [condition] }));
        status
    };
    let ended = json!({ "ended": false });
    let cases = [
        (&lease, json!({ "ended": true }), Ok(())),
        (&lease, json!({}), Err("status.ended: Required value")),
        (&lease, changed(&ended, json!({})), Ok(())),
        (&lease, changed(&ended, json!({ "reason": "NoExporter", "type": "site.example.com/Unheard" })), Ok(())),
        (&lease, changed(&ended, json!({ "reason": "" })), Err("reason")),
        (&lease, changed(&ended, json!({ "reason": "not a word" })), Err("reason")),
        (&lease, changed(&ended, json!({ "status": "Perhaps" })), Err("Unsupported value: \"Perhaps\"")),
        (&lease, changed(&ended, json!({ "type": "No spaces" })), Err("type")),
        (&lease, changed(&ended, json!({ "observedGeneration": -1 })), Err("observedGeneration")),
        (&lease, changed(&ended, json!({ "lastTransitionTime": null })), Err("lastTransitionTime")),
        (&lease, changed(&ended, json!({ "message": "m".repeat(32_769) })), Err("message")),
        (
            &lease,
            json!({ "ended": false, "priority": -5, "spotAccess": false, "exporterRef": { "name": "rig" } }),
            Ok(()),
        ),
        (&exporter, json!({ "exporterStatus": "AfterLeaseHookFailed", "statusMessage": "", "devices": [{}] }), Ok(())),
        (&exporter, json!({ "exporterStatus": "" }), Err("Unsupported value: \"\"")),
        (&exporter, json!({ "exporterStatus": "Asleep" }), Err("Unsupported value: \"Asleep\"")),
        (&exporter, json!({ "devices": [{ "uuid": "u", "parent_uuid": "p", "labels": { "a": 1 } }] }), Err("labels")),
    ];
    for (object, status, wanted) in cases {
        let case = format!("{} {status:.200}", object["kind"]);
        let mut object = object.clone();
        object["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
        object["status"] = status;
        check(&lab.replace_status(&object), wanted, &case);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy() {
    let lab = Lab::new().await;
    let cases = [
        (json!({}), Ok(())),
        (json!({ "exporterSelector": {}, "policies": [{}] }), Ok(())),
        (
            json!({ "policies": [{
                "description": "d", "priority": -7, "maximumDuration": "24h", "spotAccess": true,
                "from": [{}, { "clientSelector": { "matchLabels": { "team": "qa" } } }],
            }] }),
            Ok(()),
        ),
        (json!({ "policies": [{ "priority": "high" }] }), Err("priority")),
        (json!({ "policies": [{ "priority": 1.5 }] }), Err("priority")),
        (json!({ "policies": [{ "from": {} }] }), Err("from")),
    ];
    for (index, (spec, wanted)) in cases.into_iter().enumerate() {
        check(&lab.create("ExporterAccessPolicy", &format!("p{index}"), &spec), wanted, &spec.to_string());
    }
}
