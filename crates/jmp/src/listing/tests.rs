//! What people and programs see of leases and exporters.
use std::time::Duration;

use jiff::tz;
use jumpstarter_client::{Exporter, ExporterStatus, Lease, LeaseCandidate, LeaseCondition, LeaseQueue, Quarantine};
use jumpstarter_config::{ClientConfig, Env, ObjectMeta, Secret};
use serde_json::json;

use super::{
    exporters::{self, Columns},
    *,
};
use crate::output::{ListMode, rendered};

fn present() -> Present {
    Present { now: at("2026-01-02T03:00:00Z"), zone: TimeZone::fixed(tz::offset(1)) }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn condition(kind: &str, status: &str, message: &str) -> LeaseCondition {
    LeaseCondition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: "Why".to_owned(),
        message: message.to_owned(),
        observed_generation: Some(2),
        last_transition_time: Some(at("2026-01-02T02:00:00Z")),
    }
}

pub(super) fn lease() -> Lease {
    Lease {
        namespace: "lab".to_owned(),
        name: "one".to_owned(),
        selector: "board=qemu".to_owned(),
        exporter_name: None,
        duration: Some(Duration::from_mins(90)),
        effective_duration: Some(Duration::from_millis(1500)),
        begin_time: None,
        effective_begin_time: Some(at("2026-01-02T02:00:00.25Z")),
        end_time: None,
        effective_end_time: None,
        client: "alice".to_owned(),
        exporter: Some("rig".to_owned()),
        conditions: vec![condition("Pending", "False", ""), condition("Ready", "True", "ready")],
        tags: BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]),
        context: BTreeMap::new(),
        deprecated_labels: BTreeMap::new(),
        queue: None,
        requeue: false,
        requeued_as: None,
        group: None,
    }
}

fn waiting() -> Lease {
    let candidate =
        LeaseCandidate { exporter: "rig".to_owned(), reason: "Leased".to_owned(), message: "held by alice".to_owned() };
    Lease {
        name: "two".to_owned(),
        effective_begin_time: None,
        effective_duration: None,
        exporter: None,
        tags: BTreeMap::new(),
        conditions: vec![condition("Pending", "True", "all exporters\nare leased")],
        queue: Some(LeaseQueue { position: 3, reason: "NotAvailable".to_owned(), candidates: vec![candidate] }),
        ..lease()
    }
}

fn exporter(name: &str) -> Exporter {
    Exporter {
        namespace: "lab".to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::from([("board".to_owned(), "qemu".to_owned()), ("a".to_owned(), String::new())]),
        status: ExporterStatus::Available,
        status_message: "all\nwell".to_owned(),
        online: true,
        enabled: true,
        deprecated_labels: BTreeMap::new(),
        quarantine: None,
    }
}

fn text(view: &View, mode: Option<ListMode>) -> String {
    rendered(view, mode).unwrap()
}

#[test]
fn leases_in_a_table() {
    let view = leases::list(&[lease()], false, &present());
    let table = text(&view, None);
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "NAME  SELECTOR    EXPIRES AT           REMAINING  CLIENT  EXPORTER  TAGS",
            "one   board=qemu  2026-01-02 04:30:00  30m        alice   rig       a=1,b=2",
        ]
    );
    assert_eq!(text(&view, Some(ListMode::Name)), "one\n");
    assert_eq!(text(&leases::list(&[], false, &present()), None), "No resources found.\n");
    // One that waits is told with place and reason, in further columns.
    let table = text(&leases::list(&[lease(), waiting()], false, &present()), None);
    assert_eq!(
        table.lines().next().unwrap().split_whitespace().skip(8).collect::<Vec<_>>(),
        ["STATUS", "QUEUE", "REASON"]
    );
    let row = table.lines().nth(2).unwrap();
    assert!(row.contains("Why") && row.trim_end().ends_with("3      all exporters are leased"), "{table}");
}

#[test]
fn time_that_remains() {
    let of = |end: &str| {
        let lease = Lease { effective_end_time: Some(at(end)), ..lease() };
        leases::one(&lease, false, &present()).rows[0][3].clone()
    };
    for (end, expected) in [
        ("2026-01-03T04:05:30Z", "1d 1h 5m"),
        ("2026-01-03T03:00:30Z", "1d"),
        ("2026-01-02T03:00:30Z", "0m"),
        ("2026-01-02T03:00:00Z", "expired"),
    ] {
        assert_eq!(of(end), expected);
    }
    let unknown = Lease { duration: None, ..lease() };
    assert_eq!(leases::one(&unknown, false, &present()).rows[0][2..4], ["", ""]);
}

#[test]
fn leases_in_json() {
    let view = leases::list(&[lease()], false, &present());
    let time = json!({ "seconds": "1767319200", "nanos": 0 });
    let conditions = json!([
        { "type": "Pending", "status": "False", "observedGeneration": "2", "lastTransitionTime": time, "reason": "Why", "message": "" },
        { "type": "Ready", "status": "True", "observedGeneration": "2", "lastTransitionTime": time, "reason": "Why", "message": "ready" },
    ]);
    let expected = json!({ "leases": [{
        "namespace": "lab", "name": "one", "selector": "board=qemu", "exporter_name": null,
        "tags": { "a": "1", "b": "2" }, "duration": 5400.0, "effective_duration": 1.5, "begin_time": null,
        "client": "alice", "exporter": "rig", "conditions": conditions,
        "effective_begin_time": "2026-01-02T03:00:00.250000+01:00", "effective_end_time": null,
        "deprecated_labels": {},
    }]});
    assert_eq!(view.json, expected);
    let keys = |value: &Value| value["leases"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&view.json), keys(&expected), "the order is part of the format");
    let one = leases::one(&waiting(), false, &present()).json;
    assert_eq!(one["exporter"], "");
    assert_eq!(one["queue"]["position"], 3);
    assert_eq!(one["queue"]["candidates"][0]["message"], "held by alice");
}

#[test]
fn exporters_and_their_holders() {
    let held = exporters::join(vec![exporter("rig"), exporter("free")], &[waiting(), lease()]);
    let plain = text(&exporters::list(&held, Columns::default(), &present()), None);
    let lines: Vec<_> = plain.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["NAME  LABELS", "rig   a=,board=qemu", "free  a=,board=qemu"]);

    let all = Columns { online: true, status: true, leases: true, enabled: true, message: true };
    let wide = text(&exporters::list(&held, all, &present()), None);
    let lines: Vec<_> = wide.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "NAME  ENABLED  ONLINE  STATUS     LABELS         LEASED BY  LEASE STATUS  RELEASE TIME         MESSAGE",
            "rig   yes      yes     AVAILABLE  a=,board=qemu  alice      In-Use        2026-01-02 04:30:00  all well",
            "free  yes      yes     AVAILABLE  a=,board=qemu             Available                          all well",
        ]
    );
    let json = exporters::list(&held, Columns { message: false, ..all }, &present()).json;
    assert_eq!(json["exporters"][0]["lease"]["name"], "one");
    assert_eq!(
        json["exporters"][1],
        json!({
            "namespace": "lab", "name": "free", "labels": { "a": "", "board": "qemu" }, "online": true, "status": 2,
            "enabled": true, "lease": null, "deprecated_labels": {},
        })
    );
    let bare = exporters::list(&held, Columns::default(), &present()).json;
    assert_eq!(bare["exporters"][1].as_object().unwrap().len(), 4);
}

#[test]
fn an_exporter_that_is_kept_back() {
    let until = Some(at("2026-01-02T04:00:00Z"));
    let quarantine = Quarantine { reason: "HookFailures".to_owned(), message: "since leases failed".to_owned(), until };
    let kept = Exporter { quarantine: Some(quarantine), ..exporter("rig") };
    let held = exporters::join(vec![kept, exporter("free")], &[]);
    let shown = Columns { status: true, ..Columns::default() };
    let table = text(&exporters::list(&held, shown, &present()), None);
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "NAME  STATUS                  LABELS",
            "rig   AVAILABLE, QUARANTINED  a=,board=qemu",
            "free  AVAILABLE               a=,board=qemu",
        ]
    );
    let json = exporters::list(&held, Columns::default(), &present()).json;
    assert_eq!(
        json["exporters"][0]["quarantine"],
        json!({
            "reason": "HookFailures", "message": "since leases failed", "until": "2026-01-02T05:00:00+01:00"
        })
    );
    assert_eq!(json["exporters"][1].get("quarantine"), None);
}

#[test]
fn a_lease_that_is_over_holds_nothing() {
    for over in [
        Lease { effective_end_time: Some(at("2026-01-02T02:30:00Z")), ..lease() },
        Lease { effective_begin_time: None, ..lease() },
        Lease { conditions: vec![condition("Ready", "False", "")], ..lease() },
    ] {
        assert!(exporters::join(vec![exporter("rig")], &[over])[0].lease.is_none());
    }
}

#[test]
fn yaml_has_sorted_keys_and_a_line_to_spare() {
    let view = leases::list(&[Lease { conditions: Vec::new(), ..lease() }], false, &present());
    let yaml = text(&view, Some(ListMode::Yaml));
    let keys: Vec<_> = yaml.lines().filter_map(|line| line.get(2..)?.split_once(':')).map(|(key, _)| key).collect();
    assert!(yaml.starts_with("leases:\n"), "{yaml}");
    assert!(yaml.ends_with("\n\n"), "{yaml}");
    let client = keys.iter().position(|key| *key == "client");
    assert!(client < keys.iter().position(|key| *key == "duration"), "{yaml}");
}

#[test]
fn configs_of_clients() {
    let mut config = ClientConfig::new("a", ObjectMeta::new("lab", "alice"), "lab:1", Secret::new("secret"));
    config.refresh_token = Some(Secret::new("worth more"));
    config.path = Some("/home/a.yaml".into());
    let view = configs::clients(&[config], Some("a")).unwrap();
    assert_eq!(view.rows, [["*", "a", "lab:1", "/home/a.yaml"]]);
    assert_eq!(view.json["currentConfig"], "a");
    let item = &view.json["items"][0];
    assert_eq!(
        (&item["alias"], &item["path"], &item["token"]),
        (&json!("a"), &json!("/home/a.yaml"), &json!("secret"))
    );
    assert_eq!(item["leases"]["acquisition_timeout"], 7200);
    assert!(!view.json.to_string().contains("worth more"));
    let bare = ClientConfig::from_yaml("metadata: { namespace: null, name: b }", &Env::empty()).unwrap();
    let view = configs::clients(&[bare], None).unwrap();
    assert_eq!((&view.json["items"][0]["endpoint"], &view.json["currentConfig"]), (&Value::Null, &Value::Null));
}
