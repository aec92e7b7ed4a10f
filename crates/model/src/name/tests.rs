//! Rows of good and bad names.

use proptest::prelude::*;

use super::*;

#[test]
fn resource_names_read_and_print() {
    let exporter = "namespaces/lab/exporters/board-1".parse::<ExporterName>().unwrap();
    assert_eq!(exporter, ExporterName::new("lab", "board-1"));
    assert_eq!(exporter.to_string(), "namespaces/lab/exporters/board-1");
    assert_eq!("namespaces/lab/leases/a.b-c".parse(), Ok(LeaseName::new("lab", "a.b-c")));
    assert_eq!("namespaces/lab/clients/c".parse(), Ok(ClientName::new("lab", "c")));
    assert_eq!("namespaces/lab".parse(), Ok(NamespaceName { namespace: "lab".to_owned() }));
    assert_eq!(NamespaceName { namespace: "lab".to_owned() }.to_string(), "namespaces/lab");
}

#[test]
fn malformed_resource_names_say_what_was_expected() {
    for text in [
        "",
        "board-1",
        "namespaces/lab",
        "namespaces/lab/exporters",
        "namespaces/lab/leases/board-1",
        "namespace/lab/exporters/board-1",
        "namespaces/lab/exporters/board-1/",
        "namespaces/lab/exporters/board-1/x",
        "/namespaces/lab/exporters/board-1",
    ] {
        assert_eq!(
            text.parse::<ExporterName>().unwrap_err().to_string(),
            format!("invalid resource name `{text}`: expected `namespaces/{{namespace}}/exporters/{{exporter}}`")
        );
    }
    for text in ["", "lab", "namespaces", "namespaces/a/b", "namespaces/a/"] {
        assert!(matches!(text.parse::<NamespaceName>(), Err(NameError::Pattern { .. })), "{text}");
    }
}

#[test]
fn malformed_parts_say_which() {
    for (text, message) in [
        ("namespaces//exporters/b", "namespace is empty: give a name such as `my-board`"),
        ("namespaces/lab/exporters/", "exporter name is empty: give a name such as `my-board`"),
        (
            "namespaces/a.b/exporters/b",
            "namespace `a.b` is malformed: use lower-case letters, digits and `-`, with a letter or digit at both ends",
        ),
        (
            "namespaces/lab/exporters/Board",
            "exporter name `Board` is malformed: use lower-case letters, digits, `-` and `.`, with a letter or digit \
             at both ends",
        ),
    ] {
        assert_eq!(text.parse::<ExporterName>().unwrap_err().to_string(), message);
    }
}

#[test]
fn dns_names() {
    for good in ["a", "0", "a-b", "a--b", &"a".repeat(63)] {
        assert_eq!(validate_label("name", good), Ok(()), "{good}");
        assert_eq!(validate_subdomain("name", good), Ok(()), "{good}");
    }
    for good in ["a.b", "a.0.c", &format!("{}.b", "a".repeat(63)), &"a".repeat(253)] {
        assert_eq!(validate_subdomain("name", good), Ok(()), "{good}");
    }
    for bad in ["", "-a", "a-", ".a", "a.", "a..b", "A", "a_b", "a b", "ä", "a:b", "a\n", &"a".repeat(254)] {
        assert!(validate_label("name", bad).is_err(), "{bad}");
        assert!(validate_subdomain("name", bad).is_err(), "{bad}");
    }
    assert_eq!(
        validate_label("name", &"a".repeat(64)).unwrap_err().to_string(),
        "name is 64 characters long: use at most 63"
    );
}

proptest! {
    #[test]
    fn what_reads_prints_the_same(text in "\\PC{0,40}|namespaces/[a-z.-]{0,5}/leases/[a-z.-]{0,5}") {
        if let Ok(name) = text.parse::<LeaseName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
