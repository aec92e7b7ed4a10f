//! What `-o` shows for whole, bare and broken objects.

use serde_json::json;

use super::*;

fn options() -> Options {
    Options { devices: false, now: "2026-01-02T03:05:00Z".parse().unwrap() }
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name, "namespace": "lab", "uid": "u", "resourceVersion": "7", "generation": 1,
        "creationTimestamp": "2026-01-02T03:04:05Z", "labels": { "a": "b" }, "managedFields": [],
    })
}

#[test]
fn a_client() {
    let object = json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Client", "metadata": metadata("alice"),
        "spec": { "username": "dex:alice" },
        "status": { "credential": { "name": "alice-client" }, "endpoint": "lab:8082", "conditions": [] },
    });
    let view = one(Kind::Client, &object, options());
    assert_eq!(
        view.json,
        json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Client",
            "metadata": {
                "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 1, "name": "alice", "namespace": "lab",
                "resourceVersion": "7", "uid": "u",
            },
            "status": { "credential": { "name": "alice-client" }, "endpoint": "lab:8082" },
        })
    );
    assert_eq!(view.rows, [["alice", "lab:8082"]]);
    assert_eq!(view.names, ["client.jumpstarter.dev/alice"]);
    let bare = one(Kind::Client, &json!({ "metadata": { "name": "a" } }), options());
    assert_eq!((bare.json["status"].clone(), bare.rows), (Value::Null, vec![vec!["a".to_owned(), String::new()]]));
}

#[test]
fn an_exporter_and_its_devices() {
    let object = json!({
        "metadata": metadata("rig"),
        "status": {
            "credential": { "name": "rig-exporter" }, "endpoint": "lab:8082", "exporterStatus": "Available",
            "devices": [{ "uuid": "1", "labels": { "x": "y", "z": "" } }, { "uuid": "2", "parent_uuid": "1" }],
        },
    });
    assert_eq!(one(Kind::Exporter, &object, options()).rows, [["rig", "Available", "lab:8082", "2", "55s"]]);
    let devices = one(Kind::Exporter, &object, Options { devices: true, ..options() });
    assert_eq!(
        devices.rows,
        [["rig", "Available", "lab:8082", "55s", "x:y,z:", "1"], ["rig", "Available", "lab:8082", "55s", "", "2"]]
    );
    let status = &devices.json["status"];
    assert_eq!(
        status["devices"],
        json!([{ "labels": { "x": "y", "z": "" }, "uuid": "1" }, { "labels": {}, "uuid": "2" }])
    );
    assert_eq!((&status["statusMessage"], &status["exporterStatus"]), (&Value::Null, &json!("Available")));
    let bare = one(Kind::Exporter, &json!({ "metadata": { "name": "a" } }), options());
    assert_eq!(bare.rows, [["a", "Unknown", "", "0", ""]]);
}

#[test]
fn exporters_that_are_kept_back_are_told_in_further_columns() {
    let kept = |name: &str, reason: &str, by_hand: &str| {
        let mut metadata = metadata(name);
        metadata["annotations"] = json!({ "jumpstarter.dev/quarantine": by_hand });
        let quarantined = json!({ "type": "Quarantined", "status": "True", "reason": reason, "message": "Since." });
        let health =
            json!({ "score": 49, "failures": [], "quarantine": { "until": "2026-01-02T04:05:00Z", "times": 1 } });
        json!({
            "metadata": metadata,
            "status": { "exporterStatus": "Available", "conditions": [quarantined], "health": health },
        })
    };
    let well = json!({ "metadata": metadata("well"), "status": { "exporterStatus": "Available" } });
    let objects = [
        kept("failing", "HookFailures", ""),
        kept("taken", "ByHand", "2026-01-05T00:00:00Z"),
        kept("locked", "ByHand", "true"),
        well.clone(),
    ];
    let view = list(Kind::Exporter, &objects, options());
    assert_eq!(view.headings[5..], ["QUARANTINE", "UNTIL"]);
    let cells = view.rows.iter().map(|row| (row[1].as_str(), row[5].as_str(), row[6].as_str())).collect::<Vec<_>>();
    assert_eq!(
        cells,
        [
            ("Available, Quarantined", "HookFailures", "2026-01-02T04:05:00Z"),
            ("Available, Quarantined", "ByHand", "2026-01-05T00:00:00Z"),
            ("Available, Quarantined", "ByHand", "lifted"),
            ("Available", "", ""),
        ]
    );
    let status = &view.json["items"][0]["status"];
    assert_eq!(
        status["quarantine"],
        json!({ "reason": "HookFailures", "message": "Since.", "until": "2026-01-02T04:05:00Z" })
    );
    assert_eq!(status["health"]["score"], 49);
    assert_eq!(view.json["items"][2]["status"]["quarantine"]["until"], Value::Null);
    assert_eq!(one(Kind::Exporter, &well, options()).headings.len(), 5);
}

#[test]
fn a_lease_and_the_reasons_of_its_state() {
    let lease = |conditions: Value, ended: bool| {
        json!({
            "metadata": metadata("l"),
            "spec": { "clientRef": { "name": "alice" }, "duration": "30m0s", "selector": { "matchLabels": { "a": "b" } } },
            "status": { "ended": ended, "conditions": conditions, "exporterRef": { "name": "rig" }, "beginTime": "B" },
        })
    };
    let ready = |status: &str, reason: &str| json!([{ "type": "Pending", "status": "True", "reason": "Offline" }, { "type": "Ready", "status": status, "reason": reason }]);
    for (conditions, expected) in [
        (ready("True", "Ready"), "Ready"),
        (ready("False", "Ready"), "Waiting"),
        (ready("True", "Expired"), "Expired"),
        (ready("False", "Expired"), "Complete"),
        (ready("False", "Released"), "Released"),
        (json!([]), "Unknown"),
    ] {
        let row = &one(Kind::Lease, &lease(conditions, false), options()).rows[0];
        assert_eq!(row[6], expected);
        assert_eq!(row[..6], ["l", "alice", "a:b", "rig", "30m0s", "InProgress"]);
        assert_eq!(row[7..], ["B", "", "55s"]);
    }
    assert_eq!(one(Kind::Lease, &lease(json!([]), true), options()).rows[0][5], "Ended");
    let scheduled = json!({ "metadata": { "name": "l" }, "spec": { "duration": 5, "selector": {} } });
    let view = one(Kind::Lease, &scheduled, options());
    assert_eq!(view.rows[0][2], "*");
    assert_eq!(view.json["status"]["conditions"], json!([]));
    assert_eq!(view.json["status"]["exporter"], Value::Null);
}

#[test]
fn policies_and_lists() {
    let policy = json!({ "metadata": metadata("p"), "spec": { "exporterSelector": { "matchLabels": { "a": "b" } }, "policies": [{}, {}] } });
    assert_eq!(one(Kind::Policy, &policy, options()).rows, [["p", "a=b", "2", "55s"]]);
    let view = list(Kind::Policy, &[policy, json!({ "metadata": { "name": "q" } })], options());
    assert_eq!(view.json["kind"], "ExporterAccessPolicyList");
    assert_eq!(view.json.as_object().unwrap().keys().collect::<Vec<_>>(), ["apiVersion", "items", "kind"]);
    assert_eq!(view.rows[1], ["q", "*", "0", ""]);
    assert_eq!(view.names, ["exporteraccesspolicy.jumpstarter.dev/p", "exporteraccesspolicy.jumpstarter.dev/q"]);
}

#[test]
fn a_window_and_what_is_wrong_with_it() {
    let shown = |schedule: &str| {
        let spec = json!({ "exporters": ["rig"], "schedule": schedule, "duration": "1h", "reason": "new cable" });
        let object = json!({ "metadata": metadata("night"), "spec": spec });
        one(Kind::Window, &object, options()).rows[0][1..5].to_vec()
    };
    let [exporters, next, duration, reason] = shown("0 22 * * *").try_into().unwrap();
    assert_eq!([&*exporters, &*duration, &*reason], ["rig", "1h", "new cable"]);
    assert!(next.contains("T22:00:00Z"), "{next}");
    let [_, next, _, reason] = shown("whenever").try_into().unwrap();
    assert_eq!(next, "<invalid>");
    assert!(reason.starts_with("blocks nothing: schedule `whenever` is not five fields"), "{reason}");
}
