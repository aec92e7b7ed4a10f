//! Manifests in and out, the CRDs, and the rules an API server would check.

use kube::CustomResourceExt as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{rules::LeaseRuleError, *};

/// Reads a manifest, writes it, and expects the same value again.
#[track_caller]
fn round_trip<K: DeserializeOwned + Serialize>(yaml: &str) -> K {
    let manifest: Value = serde_saphyr::from_str(yaml).unwrap();
    let object: K = decode(manifest.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), manifest);
    object
}

#[test]
fn a_client() {
    let client = round_trip::<Client>(
        r#"
apiVersion: jumpstarter.dev/v1alpha1
kind: Client
metadata:
  name: alice
  namespace: lab
  uid: 3ce6d3ee-0000-4000-8000-000000000001
  labels: {team: qa}
  annotations: {jumpstarter.dev/migrated-uid: old}
spec:
  username: dex:alice
status:
  conditions:
  - lastTransitionTime: "2026-01-02T03:04:05Z"
    message: ""
    observedGeneration: 1
    reason: Valid
    status: "False"
    type: TokenExpiring
  credential: {name: alice-client}
  endpoint: lab.example.com:8082
  tokenExpiresAt: "2031-01-02T03:04:05Z"
"#,
    );
    assert_eq!(client.status.unwrap().credential.unwrap().name, "alice-client");
}

#[test]
fn an_exporter() {
    let exporter = round_trip::<Exporter>(
        r#"
apiVersion: jumpstarter.dev/v1alpha1
kind: Exporter
metadata: {name: rig-1, namespace: lab, labels: {board: x, jumpstarter.dev/name: rig-1}}
spec: {enabled: false, username: "dex:rig"}
status:
  devices:
  - uuid: u-1
    labels: {jumpstarter.dev/client: a.b.C}
  - uuid: u-2
    parent_uuid: u-1
    labels: {}
  leaseRef: {name: "0198"}
  lastSeen: "2026-01-02T03:04:05Z"
  exporterStatus: BeforeLeaseHookFailed
  statusMessage: hook failed
"#,
    );
    assert!(!exporter.is_enabled());
    assert!(Exporter::default().is_enabled());
}

#[test]
fn a_lease() {
    let lease = round_trip::<Lease>(
        r#"
apiVersion: jumpstarter.dev/v1alpha1
kind: Lease
metadata: {name: l, namespace: lab, labels: {jumpstarter.dev/lease-ended: "true"}}
spec:
  clientRef: {name: alice}
  duration: 1h30m0s
  selector:
    matchLabels: {board: x}
    matchExpressions:
    - {key: arch, operator: In, values: [arm64]}
    - {key: broken, operator: DoesNotExist}
  exporterRef: {name: rig-1}
  tags: {run: "7"}
  context: {job: nightly}
  allowDisabled: true
  release: true
  beginTime: "2026-01-02T03:04:05Z"
  endTime: "2026-01-02T04:34:05Z"
status:
  ended: true
  beginTime: "2026-01-02T03:04:06Z"
  endTime: "2026-01-02T03:05:06Z"
  exporterRef: {name: rig-1}
  priority: -5
  spotAccess: false
"#,
    );
    assert!(lease.is_ended());
    assert_eq!((lease.assigned_exporter(), lease.pinned_exporter()), (Some("rig-1"), Some("rig-1")));
}

#[test]
fn a_policy() {
    round_trip::<ExporterAccessPolicy>(
        r"
apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterAccessPolicy
metadata: {name: default, namespace: lab}
spec:
  exporterSelector: {matchLabels: {board: x}}
  policies:
  - description: lab team
    priority: 20
    maximumDuration: 24h0m0s
    spotAccess: true
    from:
    - clientSelector: {matchLabels: {team: qa}}
    - clientSelector: {}
",
    );
}

#[test]
fn fields_that_readers_take_for_granted() {
    let status = serde_json::to_value(LeaseStatus::default()).unwrap();
    assert_eq!(status, json!({ "ended": false }));
    let device = serde_json::to_value(Device::default()).unwrap();
    assert_eq!(device, json!({ "uuid": "", "labels": {} }));
}

#[test]
fn manifests_may_leave_things_out() {
    let client: Client =
        decode(json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Client", "metadata": {} })).unwrap();
    assert_eq!(client.spec, ClientSpec::default());
    let exporter: Exporter =
        decode(json!({ "metadata": { "name": "a" }, "spec": { "enabled": null }, "status": null })).unwrap();
    assert!(exporter.is_enabled() && exporter.status.is_none());
    let lease: Lease = decode(json!({
        "metadata": { "name": "a" },
        "spec": { "clientRef": { "name": "c" }, "selector": null, "tags": null, "unknown": 1 },
        "status": { "conditions": [] },
    }))
    .unwrap();
    assert!(!lease.is_ended() && lease.assigned_exporter().is_none() && lease.pinned_exporter().is_none());
}

#[test]
fn durations_are_written_in_go_s_canonical_form() {
    let lease: Lease =
        decode(json!({ "metadata": {}, "spec": { "clientRef": { "name": "c" }, "duration": "90m" } })).unwrap();
    assert_eq!(serde_json::to_value(&lease).unwrap()["spec"]["duration"], "1h30m0s");
}

#[test]
fn one_bad_object_does_not_spoil_its_list() {
    let lease = |name: &str, duration: Value| {
        json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease",
            "metadata": { "name": name, "namespace": "lab" },
            "spec": { "clientRef": { "name": "c" }, "duration": duration },
        })
    };
    let list = json!({ "items": [lease("a", json!("1h")), lease("b", json!("1 day")), lease("c", json!(5)), lease("d", json!("5s"))] });
    let decoded = decode_list::<Lease>(list);
    assert_eq!(decoded.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    let error = decoded[1].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "Lease `lab/b` cannot be read");
    assert!(error.source.to_string().contains("`1 day` has the unknown unit ` day`"), "{}", error.source);
    assert!(decode_list::<Lease>(json!({})).is_empty());
}

#[test]
fn phases_and_their_numbers() {
    for (number, phase) in (0..).zip(ExporterPhase::ALL) {
        assert_eq!((phase.to_wire(), ExporterPhase::from_wire(number)), (number, phase));
        assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
    }
    for unknown in [-1, 8, i32::MAX, i32::MIN] {
        assert_eq!(ExporterPhase::from_wire(unknown), ExporterPhase::Unspecified);
    }
}

#[test]
fn a_phase_that_nobody_knows_says_nothing() {
    for (text, phase) in [
        (json!("LeaseReady"), Some(ExporterPhase::LeaseReady)),
        (json!("Hibernating"), Some(ExporterPhase::Unspecified)),
        (json!(""), Some(ExporterPhase::Unspecified)),
        (Value::Null, None),
    ] {
        let exporter: Exporter = decode(json!({ "metadata": {}, "status": { "exporterStatus": text } })).unwrap();
        assert_eq!(exporter.status.unwrap().exporter_status, phase, "{text}");
    }
    assert!(decode::<Exporter>(json!({ "metadata": {}, "status": { "exporterStatus": 5 } })).is_err());
}

fn lease_spec(value: Value) -> LeaseSpec {
    serde_json::from_value(value).unwrap()
}

#[test]
fn rules_on_new_leases() {
    let client = json!({ "name": "c" });
    let many =
        |count: usize| (0..count).map(|index| (format!("k{index}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    for (value, expected) in [
        (json!({ "clientRef": client, "selector": { "matchLabels": { "a": "b" } } }), Ok(())),
        (
            json!({ "clientRef": client, "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists" }] } }),
            Ok(()),
        ),
        (json!({ "clientRef": client, "exporterRef": { "name": "rig" } }), Ok(())),
        (json!({ "clientRef": client }), Err(LeaseRuleError::NoTarget)),
        (json!({ "clientRef": client, "selector": { "matchLabels": {} } }), Err(LeaseRuleError::NoTarget)),
        (json!({ "clientRef": client, "exporterRef": { "name": "" } }), Err(LeaseRuleError::NoTarget)),
        (json!({ "clientRef": client, "exporterRef": { "name": "r" }, "tags": many(10) }), Ok(())),
        (
            json!({ "clientRef": client, "exporterRef": { "name": "r" }, "tags": many(11) }),
            Err(LeaseRuleError::TooManyTags),
        ),
        (
            json!({ "clientRef": client, "exporterRef": { "name": "r" }, "context": many(9) }),
            Err(LeaseRuleError::TooManyContextEntries),
        ),
        (
            json!({ "clientRef": client, "exporterRef": { "name": "r" }, "context": { "k": "v".repeat(65) } }),
            Err(LeaseRuleError::ContextTooLarge),
        ),
        (
            json!({ "clientRef": client, "exporterRef": { "name": "r" }, "context": { "k".repeat(33): "v" } }),
            Err(LeaseRuleError::ContextTooLarge),
        ),
    ] {
        assert_eq!(rules::check_create(&lease_spec(value.clone())), expected, "{value}");
    }
}

#[test]
fn rules_on_changed_leases() {
    let spec = |tags: Value, context: Value| {
        lease_spec(
            json!({ "clientRef": { "name": "c" }, "exporterRef": { "name": "r" }, "tags": tags, "context": context }),
        )
    };
    let (none, one, two) = (Value::Null, json!({ "a": "1" }), json!({ "a": "2" }));
    for (old, new, expected) in [
        ((&none, &none), (&one, &one), Ok(())),
        ((&one, &one), (&one, &one), Ok(())),
        ((&one, &none), (&two, &none), Err(LeaseRuleError::TagsChanged)),
        ((&one, &none), (&none, &none), Err(LeaseRuleError::TagsChanged)),
        ((&none, &one), (&none, &two), Err(LeaseRuleError::ContextChanged)),
        ((&none, &one), (&none, &none), Err(LeaseRuleError::ContextChanged)),
    ] {
        let (old, new) = (spec(old.0.clone(), old.1.clone()), spec(new.0.clone(), new.1.clone()));
        assert_eq!(rules::check_update(&old, &new), expected, "{old:?} {new:?}");
    }
    let targetless = lease_spec(json!({ "clientRef": { "name": "c" } }));
    assert_eq!(rules::check_update(&spec(Value::Null, Value::Null), &targetless), Err(LeaseRuleError::NoTarget));
}

#[test]
fn the_definitions() {
    let crds = crds();
    let names = crds.iter().filter_map(|crd| crd.metadata.name.as_deref()).collect::<Vec<_>>();
    assert_eq!(
        names,
        [
            "clients.jumpstarter.dev",
            "exporters.jumpstarter.dev",
            "exporteraccesspolicies.jumpstarter.dev",
            "leases.jumpstarter.dev",
            "leasequotas.jumpstarter.dev",
            "maintenancewindows.jumpstarter.dev"
        ]
    );
    let four = [Client::crd_name(), Exporter::crd_name(), ExporterAccessPolicy::crd_name(), Lease::crd_name()];
    assert_eq!(names[..4], four);
    assert_eq!(names[4..], [LeaseQuota::crd_name(), MaintenanceWindow::crd_name()]);
}

/// `deploy/crds` is what people apply, so it must be what the types say.
#[test]
fn the_committed_definitions_are_up_to_date() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for crd in crds() {
        let path = folder.join(format!("{}.yaml", crd.spec.names.plural));
        let wanted = format!("{}\n", serde_saphyr::to_string(&crd).unwrap().trim_end());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, wanted, "{} is out of date: UPDATE=1 cargo test -p jumpstarter-model", path.display());
    }
}
