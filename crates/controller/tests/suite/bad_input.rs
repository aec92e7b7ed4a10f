//! Requests that make no sense, each refused with a code and a text (protocol.md §10.2, §10.3 row 16).

use std::collections::HashMap;

use jumpstarter_protocol::{
    client::v1::{CreateLeaseRequest, Lease, UpdateLeaseRequest},
    v1::{LabelSelector, LabelSelectorRequirement, ListLeasesRequest, RequestLeaseRequest},
};
use prost_types::{Duration, Timestamp};
use tonic::Code;

use crate::support::{
    Lab,
    client::{in_seconds, seconds},
    lab::NAMESPACE,
    wanted,
};

fn tags(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn leases_that_make_no_sense_are_refused_and_nothing_is_stored() {
    let lab = Lab::start().await;
    lab.exporter("away", &[("board", "a")]).await;
    let alice = lab.client("alice").await;
    let good = || wanted("board=a");
    let span = |seconds, nanos| Some(Duration { seconds, nanos });
    let instant = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let long = |count: usize| "x".repeat(count);
    let many: Vec<(String, String)> = (0..11).map(|number| (format!("k{number}"), "v".to_owned())).collect();

    let rows: Vec<(&str, &str, Lease)> = vec![
        ("no target", "", wanted("")),
        ("empty exporter name", "", Lease { exporter_name: Some(String::new()), ..wanted("") }),
        ("blank selector", "", wanted("  ")),
        ("selector", "", wanted("board=a b")),
        ("selector operator", "", wanted("board >> a")),
        ("open parenthesis", "", wanted("board in (a")),
        ("contradiction", "", wanted("a=1,a=2")),
        ("label value", "", wanted(&format!("board={}", long(64)))),
        ("label key", "", wanted("-board=a")),
        ("non-ASCII selector", "", wanted("bürd=ä")),
        ("endless selector", "", wanted(&format!("board in ({})", long(100_000)))),
        ("exporter name", "", Lease { exporter_name: Some("Not A Name".into()), ..wanted("") }),
        ("no duration", "", Lease { duration: None, ..good() }),
        ("zero", "", Lease { duration: span(0, 0), ..good() }),
        ("negative", "", Lease { duration: span(-1, 0), ..good() }),
        ("absurd", "", Lease { duration: span(i64::MAX, 999_999_999), ..good() }),
        ("negative absurd", "", Lease { duration: span(i64::MIN, -1), ..good() }),
        ("a hundred years", "", Lease { duration: span(100 * 365 * 24 * 3600, 0), ..good() }),
        ("end alone", "", Lease { duration: None, end_time: Some(in_seconds(60)), ..good() }),
        ("begin alone", "", Lease { duration: None, begin_time: Some(in_seconds(60)), ..good() }),
        (
            "end before begin",
            "",
            Lease { duration: None, begin_time: Some(in_seconds(60)), end_time: Some(in_seconds(30)), ..good() },
        ),
        (
            "contradictory times",
            "",
            Lease {
                duration: Some(seconds(5)),
                begin_time: Some(in_seconds(60)),
                end_time: Some(in_seconds(120)),
                ..good()
            },
        ),
        ("over already", "", Lease { begin_time: Some(in_seconds(-3600)), duration: Some(seconds(60)), ..good() }),
        ("past end", "", Lease { end_time: Some(in_seconds(-5)), duration: Some(seconds(60)), ..good() }),
        ("begin out of range", "", Lease { begin_time: instant(i64::MAX, 0), ..good() }),
        ("negative nanoseconds", "", Lease { begin_time: instant(i64::MIN, -5), ..good() }),
        ("begin before the calendar", "", Lease { begin_time: instant(-400_000_000_000, 0), ..good() }),
        ("too many tags", "", Lease { tags: many.into_iter().collect(), ..good() }),
        ("tag with prefix", "", Lease { tags: tags(&[("a/b", "c")]), ..good() }),
        ("reserved tag", "", Lease { tags: tags(&[("jumpstarter.dev/x", "c")]), ..good() }),
        ("tag key", "", Lease { tags: tags(&[("", "c")]), ..good() }),
        ("long tag key", "", Lease { tags: tags(&[(&long(64), "c")]), ..good() }),
        ("tag value", "", Lease { tags: tags(&[("a", "no spaces")]), ..good() }),
        ("long context key", "", Lease { context: tags(&[(&long(33), "c")]), ..good() }),
        ("long context value", "", Lease { context: tags(&[("a", &long(65))]), ..good() }),
        ("id with spaces", "no id", good()),
        ("id with upper case", "ID", good()),
        ("id with a slash", "a/b", good()),
        ("endless id", &"a".repeat(300), good()),
    ]
    .into_iter()
    .map(|(what, id, lease)| (what, Box::leak(id.to_owned().into_boxed_str()) as &str, lease))
    .collect();
    for (what, id, lease) in rows {
        let refused = alice.create(id, lease).await.expect_err(what);
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
        assert!(!refused.message().is_empty(), "{what}");
        assert!(refused.message().len() <= 4096, "{what}: {} bytes", refused.message().len());
    }
    let all = jumpstarter_protocol::client::v1::ListLeasesRequest { only_active: Some(false), ..Default::default() };
    assert!(alice.list(all).await.unwrap().leases.is_empty(), "nothing was written");
}

#[tokio::test]
async fn names_are_checked_part_by_part() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    for parent in ["", "namespaces", "namespaces/", "namespace/lab", "namespaces/lab/leases", "namespaces/Not Valid"] {
        let request = alice.identity.request(CreateLeaseRequest {
            parent: parent.into(),
            lease_id: String::new(),
            lease: Some(wanted("board=a")),
        });
        let refused = alice.stub.clone().create_lease(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{parent:?}: {refused}");
    }
    let request =
        CreateLeaseRequest { parent: format!("namespaces/{NAMESPACE}"), lease_id: String::new(), lease: None };
    let refused = alice.stub.clone().create_lease(alice.identity.request(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused =
        alice.stub.clone().update_lease(alice.identity.request(UpdateLeaseRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn old_clients_ask_for_leases_with_structured_selectors() {
    let lab = Lab::start().await;
    let (_exporter, _feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    let request = |operator: &str, values: &[&str], duration| RequestLeaseRequest {
        duration,
        selector: Some(LabelSelector {
            match_expressions: vec![LabelSelectorRequirement {
                key: "board".into(),
                operator: operator.into(),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }],
            match_labels: HashMap::new(),
        }),
    };
    for (what, request) in [
        ("no selector", RequestLeaseRequest { duration: Some(seconds(5)), selector: None }),
        ("operator", request("Near", &["dut"], Some(seconds(5)))),
        ("no values", request("In", &[], Some(seconds(5)))),
        ("needless values", request("Exists", &["dut"], Some(seconds(5)))),
        ("no duration", request("Exists", &[], None)),
        ("zero", request("Exists", &[], Some(seconds(0)))),
    ] {
        let refused = alice.controller.clone().request_lease(alice.identity.request(request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
    }
    let good = alice.identity.request(request("In", &["dut"], Some(seconds(60))));
    let name = alice.controller.clone().request_lease(good).await.unwrap().into_inner().name;
    let names =
        alice.controller.clone().list_leases(alice.identity.request(ListLeasesRequest::default())).await.unwrap();
    assert_eq!(names.into_inner().names, std::slice::from_ref(&name));
    alice.await_ready(&name).await;
    let legacy = jumpstarter_protocol::v1::GetLeaseRequest { name: name.clone() };
    let lease = alice.controller.clone().get_lease(alice.identity.request(legacy.clone())).await.unwrap().into_inner();
    assert_eq!(lease.exporter_uuid, lab.stored_exporter("dut").await.metadata.uid);
    assert_eq!((lease.end_time, lease.duration), (None, Some(seconds(60))));
    let bob = lab.client("bob").await;
    let refused = bob.controller.clone().get_lease(bob.identity.request(legacy)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let release = jumpstarter_protocol::v1::ReleaseLeaseRequest { name: name.clone() };
    let refused = bob.controller.clone().release_lease(bob.identity.request(release.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for _ in 0..2 {
        alice.controller.clone().release_lease(alice.identity.request(release.clone())).await.unwrap();
    }
    alice.await_end(&name).await;
}
