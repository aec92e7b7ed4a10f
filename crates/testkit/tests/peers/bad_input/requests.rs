//! Names, selectors, durations, times, tags, identifiers, other people's leases.

use std::{collections::HashMap, time::Duration};

use jumpstarter_protocol::client::v1::{Lease, ListExportersRequest, ListLeasesRequest, UpdateLeaseRequest};
use jumpstarter_testkit::{
    Lab, MINUTE, eventually,
    grpc::{Grpc, wanted},
};
use prost_types::{Duration as ProtoDuration, FieldMask, Timestamp};
use tonic::Code;

use super::{leases, refused};

const HOUR: Duration = Duration::from_hours(1);

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn seconds(seconds: i64, nanos: i32) -> Option<ProtoDuration> {
    Some(ProtoDuration { seconds, nanos })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn at(offset: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: jiff::Timestamp::now().as_second() + offset, nanos: 0 })
}

fn tags(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_malformed_lease_is_refused_and_not_kept() {
    let lab = Lab::start();
    let alice = lab.grpc_client("alice");
    let good = || wanted("board=qemu", HOUR);
    let many: HashMap<_, _> = (0..11).map(|n| (format!("key{n}"), "v".to_owned())).collect();

    let mut cases = vec![
        ("no target", Lease { selector: String::new(), ..good() }),
        ("blank target", Lease { selector: "   ".to_owned(), ..good() }),
        ("no duration", Lease { duration: None, ..good() }),
        ("zero duration", Lease { duration: seconds(0, 0), ..good() }),
        ("negative duration", Lease { duration: seconds(-60, 0), ..good() }),
        ("absurd duration", Lease { duration: seconds(i64::MAX, 0), ..good() }),
        ("duration of mixed signs", Lease { duration: seconds(60, -5), ..good() }),
        ("more than a second of nanoseconds", Lease { duration: seconds(60, i32::MAX), ..good() }),
        ("end alone", Lease { duration: None, end_time: at(3600), ..good() }),
        ("end before begin", Lease { duration: None, begin_time: at(3600), end_time: at(60), ..good() }),
        ("empty interval", Lease { duration: None, begin_time: at(3600), end_time: at(3600), ..good() }),
        ("three that disagree", Lease { begin_time: at(60), end_time: at(120), ..good() }),
        ("absurd begin", Lease { begin_time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..good() }),
        ("begin with broken nanoseconds", Lease { begin_time: Some(Timestamp { seconds: 1, nanos: -1 }), ..good() }),
        ("eleven tags", Lease { tags: many, ..good() }),
        ("tag with a prefix", Lease { tags: tags(&[("example.com/a", "b")]), ..good() }),
        ("reserved tag", Lease { tags: tags(&[("jumpstarter.dev/a", "b")]), ..good() }),
        ("empty tag", Lease { tags: tags(&[("", "b")]), ..good() }),
        ("tag with a space", Lease { tags: tags(&[("a b", "c")]), ..good() }),
        ("tag with a wrong value", Lease { tags: tags(&[("a", "ä")]), ..good() }),
        ("name of no exporter", Lease { exporter_name: Some("No/Name".to_owned()), ..good() }),
    ];
    for selector in
        ["a=b=c", "=b", "a in", "a in (", "a in b", "a notin ()", "!", "a b", "a,,b", "-a=b", "a=-b", "a/b/c=d", "(a)"]
    {
        cases.push((selector, Lease { selector: selector.to_owned(), ..good() }));
    }
    cases.push(("a selector of a megabyte", Lease { selector: format!("a={}", "b".repeat(1 << 20)), ..good() }));
    let accepted: Vec<_> = cases
        .into_iter()
        .filter_map(|(case, lease)| {
            let answer = alice.create("", lease);
            let code = answer.as_ref().map_err(tonic::Status::code).err();
            (code != Some(Code::InvalidArgument)).then(|| format!("{case}: {answer:?}"))
        })
        .collect();
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    for id in ["UPPER", "with space", "-dash", "a/b", "ä", &"x".repeat(300)] {
        refused(id, alice.create(id, good()), Code::InvalidArgument);
    }
    assert_eq!(leases(&alice), Vec::<String>::new(), "nothing is half-written");
}

#[test]
fn malformed_names_and_lists_are_refused() {
    let lab = Lab::start();
    let alice = lab.grpc_client("alice");
    for name in [
        "",
        "dut",
        "namespaces/default",
        "namespaces/default/exporters",
        "namespaces/default/exporters/",
        "namespaces//exporters/dut",
        "namespaces/default/leases/dut",
        "projects/default/exporters/dut",
        "namespaces/default/exporters/dut/more",
    ] {
        let request =
            jumpstarter_protocol::client::v1::GetExporterRequest { name: name.to_owned(), ..Default::default() };
        refused(name, alice.call(alice.clients().get_exporter(alice.request(request))), Code::InvalidArgument);
    }
    let foreign = jumpstarter_protocol::client::v1::GetExporterRequest {
        name: "namespaces/elsewhere/exporters/dut".to_owned(),
        ..Default::default()
    };
    refused("foreign", alice.call(alice.clients().get_exporter(alice.request(foreign))), Code::PermissionDenied);
    refused("missing exporter", alice.exporter("nothing"), Code::NotFound);
    refused("missing lease", alice.lease("nothing"), Code::NotFound);

    let parent = "namespaces/default".to_owned();
    for (case, filter, page_size, page_token) in
        [("bad filter", "a in", 0, ""), ("negative page", "", -1, ""), ("foreign page token", "", 0, "not a token")]
    {
        let (filter, page_token) = (filter.to_owned(), page_token.to_owned());
        let exporters = ListExportersRequest {
            parent: parent.clone(),
            filter: filter.clone(),
            page_size,
            page_token: page_token.clone(),
            ..Default::default()
        };
        refused(case, alice.call(alice.clients().list_exporters(alice.request(exporters))), Code::InvalidArgument);
        let leases = ListLeasesRequest { parent: parent.clone(), filter, page_size, page_token, ..Default::default() };
        refused(case, alice.call(alice.clients().list_leases(alice.request(leases))), Code::InvalidArgument);
    }
    let tagged = ListLeasesRequest { parent: parent.clone(), tag_filter: "(".to_owned(), ..Default::default() };
    refused("bad tag filter", alice.call(alice.clients().list_leases(alice.request(tagged))), Code::InvalidArgument);
    let elsewhere = ListLeasesRequest { parent: "namespaces/elsewhere".to_owned(), ..Default::default() };
    refused("foreign list", alice.call(alice.clients().list_leases(alice.request(elsewhere))), Code::PermissionDenied);
}

#[test]
fn a_lease_identifier_is_taken_once() {
    let lab = Lab::start();
    let _ = lab.exporter_config("dut", &[("board".to_owned(), "qemu".to_owned())]);
    let (alice, bob) = (lab.grpc_client("alice"), lab.grpc_client("bob"));
    let first = alice.create("mine", wanted("board=qemu", HOUR)).unwrap();
    let again = alice.create("mine", wanted("board=qemu", HOUR)).unwrap();
    assert_eq!(first.name, again.name, "a repeated request is the same request");
    refused("other content", alice.create("mine", wanted("board=qemu", 2 * HOUR)), Code::AlreadyExists);
    refused("other owner", bob.create("mine", wanted("board=qemu", HOUR)), Code::AlreadyExists);
    assert_eq!(leases(&alice), [alice.path("leases", "mine")]);
}

fn update(client: &Grpc, lease: Lease, paths: &[&str]) -> Result<Lease, tonic::Status> {
    let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    let request = UpdateLeaseRequest { lease: Some(lease), update_mask: Some(mask) };
    client.call(client.clients().update_lease(client.request(request)))
}

#[test]
fn other_peoples_leases_stay_theirs() {
    let lab = Lab::start();
    let _ = lab.exporter_config("dut", &[("board".to_owned(), "qemu".to_owned())]);
    let (alice, bob) = (lab.grpc_client("alice"), lab.grpc_client("bob"));
    alice.create("mine", wanted("board=qemu", HOUR)).unwrap();
    let mine = || Lease { name: alice.path("leases", "mine"), ..Default::default() };

    let text = refused("release", bob.delete("mine"), Code::PermissionDenied);
    assert!(text.contains("permission denied"), "{text}");
    let text = refused("dial", bob.dial("mine"), Code::PermissionDenied);
    assert!(text.contains("permission denied"), "{text}");
    let longer = Lease { duration: seconds(7200, 0), ..mine() };
    refused("extend", update(&bob, longer, &["duration"]), Code::PermissionDenied);
    let stolen = Lease { client: Some(bob.path("clients", "bob")), ..mine() };
    refused("steal", update(&bob, stolen, &["client"]), Code::PermissionDenied);

    refused("dial nothing", alice.dial(""), Code::InvalidArgument);
    refused("dial a missing lease", alice.dial("other"), Code::NotFound);
    let text = refused("dial a waiting lease", alice.dial("mine"), Code::FailedPrecondition);
    assert!(!text.contains("not ready"), "released clients would retry: {text}");
    refused("delete a missing lease", alice.delete("other"), Code::NotFound);
    refused(
        "extend to nothing",
        update(&alice, Lease { duration: seconds(0, 0), ..mine() }, &["duration"]),
        Code::InvalidArgument,
    );
    let text = refused("unknown field", update(&alice, mine(), &["colour"]), Code::InvalidArgument);
    assert!(text.contains("colour"), "{text}");
    let foreign = Lease { client: Some("namespaces/elsewhere/clients/bob".to_owned()), ..mine() };
    assert!(update(&alice, foreign, &["client"]).is_err());
    assert_eq!(alice.lease("mine").unwrap().duration, seconds(3600, 0), "nothing changed");

    alice.delete("mine").unwrap();
    refused("release twice", alice.delete("mine"), Code::FailedPrecondition);
    eventually("the lease to end", MINUTE, || alice.lease("mine").unwrap().effective_end_time);
    refused("dial an ended lease", alice.dial("mine"), Code::FailedPrecondition);
    refused(
        "extend an ended lease",
        update(&alice, Lease { duration: seconds(7200, 0), ..mine() }, &["duration"]),
        Code::FailedPrecondition,
    );
}
