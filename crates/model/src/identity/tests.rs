//! Rows of kubernetes.md §6.2 and §6.4.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn names_derived_from_user_names() {
    for (user, name) in [
        ("dex:test-user", "test-user"),
        ("dex:foo@example.com", "foo-example-com"),
        ("foo@example.com", "foo-example-com"),
        ("a:b:c", "b-c"),
        (&"a".repeat(70), &"a".repeat(63)),
        ("system:serviceaccount:ns:sa", "serviceaccount-ns-sa"),
        ("dex:Alice.B", "alice-b"),
        ("dex:__x__", "x"),
        ("dex:a  ..b", "a-b"),
        ("dex:Ünal", "nal"),
        (&format!("dex:{}-b", "a".repeat(62)), &"a".repeat(62)),
        ("dex:", ""),
        ("dex:@@@", ""),
        ("", ""),
    ] {
        assert_eq!(derive_name(user), name, "{user}");
    }
}

#[test]
fn classes_of_user_names() {
    for (user, prefix, class) in [
        ("internal:client:lab:a:1", "internal:", UserClass::Internal),
        ("own:client:lab:a:1", "own:", UserClass::Internal),
        ("internal:client:lab:a:1", "own:", UserClass::External),
        ("anyone", "", UserClass::External),
        ("k8s:system:serviceaccount:ns:sa", "internal:", UserClass::ServiceAccount),
        ("system:serviceaccount:ns:sa", "internal:", UserClass::External),
        ("k8s:system:serviceaccount:ns", "internal:", UserClass::External),
        ("dex:alice", "internal:", UserClass::External),
    ] {
        assert_eq!(classify(user, prefix), class, "{user}");
    }
}

#[test]
fn object_names_of_users() {
    let name = |user, given| object_name(user, "internal:", given).map_err(|error| error.to_string());
    let internal = "internal:client:lab:a:1";
    assert_eq!(name(internal, Some("a")), Ok("a".to_owned()));
    assert_eq!(name(internal, None), Err("jumpstarter-name is missing from the call metadata".to_owned()));
    assert_eq!(name(internal, Some("")), Err("jumpstarter-name is missing from the call metadata".to_owned()));
    assert!(name(internal, Some("Not A Name")).is_err());
    assert_eq!(name("k8s:system:serviceaccount:ns:sa", Some("bot")), Ok("bot".to_owned()));
    assert_eq!(name("dex:alice", None), Ok("alice".to_owned()));
    assert_eq!(name("dex:alice", Some("")), Ok("alice".to_owned()));
    assert_eq!(name("dex:alice", Some("alice")), Ok("alice".to_owned()));
    assert_eq!(
        name("dex:alice", Some("bob")),
        Err("jumpstarter-name `bob` does not belong to this user, whose name is `alice`".to_owned())
    );
    assert_eq!(name("dex:@", None), Err("the user name gives no object name".to_owned()));
}

fn metadata(annotations: &[(&str, &str)]) -> ObjectMeta {
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ObjectMeta {
        name: Some("board".to_owned()),
        namespace: Some("lab".to_owned()),
        uid: Some("u-1".to_owned()),
        annotations: Some(annotations.collect::<BTreeMap<_, _>>()),
        ..ObjectMeta::default()
    }
}

#[test]
fn subjects_of_objects() {
    for (annotations, subject) in [
        (&[][..], "exporter:lab:board:u-1"),
        (&[(MIGRATED_NAMESPACE, "old")], "exporter:old:board:u-1"),
        (&[(MIGRATED_UID, "u-0")], "exporter:lab:board:u-0"),
        (&[(MIGRATED_NAMESPACE, "old"), (MIGRATED_UID, "u-0")], "exporter:old:board:u-0"),
        (&[(MIGRATED_NAMESPACE, ""), (MIGRATED_UID, "")], "exporter:lab:board:u-1"),
    ] {
        assert_eq!(Subject::of(Kind::Exporter, &metadata(annotations)).to_string(), subject);
    }
}

#[test]
fn subjects_read_back() {
    let subject = "client:lab:alice:1-2-3".parse::<Subject>().unwrap();
    assert_eq!(subject.kind, Kind::Client);
    assert_eq!(subject.to_string(), "client:lab:alice:1-2-3");
    for bad in ["", "client", "client:lab:alice", "client:lab:alice:", "client::alice:1", "Client:lab:alice:1", ":::"] {
        assert_eq!(bad.parse::<Subject>(), Err(SubjectError), "{bad}");
    }
}

#[test]
fn who_may_act_as_an_object() {
    let subject = Subject::of(Kind::Exporter, &metadata(&[]));
    assert!(may_act_as("internal:exporter:lab:board:u-1", "internal:", &subject, None));
    assert!(!may_act_as("internal:exporter:lab:board:u-2", "internal:", &subject, None));
    assert!(!may_act_as("internal:client:lab:board:u-1", "internal:", &subject, None));
    assert!(may_act_as("dex:rig", "internal:", &subject, Some("dex:rig")));
    assert!(!may_act_as("dex:Rig", "internal:", &subject, Some("dex:rig")));
    assert!(!may_act_as("", "internal:", &subject, Some("")));
}

#[test]
fn kinds_in_metadata_keep_their_case() {
    for kind in [Kind::Client, Kind::Exporter] {
        assert_eq!(Kind::from_metadata(kind.as_metadata()), Some(kind));
        assert_eq!(Kind::from_metadata(kind.as_str()), None);
    }
}

proptest! {
    #[test]
    fn derived_names_are_dns_labels_or_nothing(user in "\\PC{0,120}") {
        let name = derive_name(&user);
        prop_assert!(name.is_empty() || crate::name::validate_label("name", &name).is_ok(), "{}", name);
    }

    #[test]
    fn subjects_print_as_they_read(text in "(client|exporter):[a-z:]{0,12}|\\PC{0,24}") {
        if let Ok(subject) = text.parse::<Subject>() {
            prop_assert_eq!(subject.to_string(), text);
        }
    }
}
