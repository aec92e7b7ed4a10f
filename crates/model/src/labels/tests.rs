//! Rows of keys, values, and the labels that the service derives.

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn keys() {
    for good in ["a", "A_b.c-9", "example.com/board", "jumpstarter.dev/name", "0/1", &"k".repeat(63)] {
        assert_eq!(validate_key(good), Ok(()), "{good}");
    }
    let long_prefix = format!("{}/a", "a".repeat(254));
    for bad in [
        "",
        "/",
        "a/",
        "/a",
        "a/b/c",
        "-a",
        "a-",
        "_a",
        "a b",
        "ä",
        "Example.com/a",
        "a_b/c",
        &"k".repeat(64),
        &long_prefix,
    ] {
        assert!(validate_key(bad).is_err(), "{bad}");
    }
}

#[test]
fn values() {
    for good in ["", "a", "0", "A.b_c-d", &"v".repeat(63)] {
        assert_eq!(validate_value(good), Ok(()), "{good}");
    }
    for bad in ["-", "a-", ".a", "a b", "a/b", "a:b", "ü", &"v".repeat(64)] {
        assert!(validate_value(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_long_text_is_cut_in_the_message() {
    assert!(validate_value(&"v".repeat(100_000)).unwrap_err().to_string().len() < 400);
}

#[test]
fn labels_of_a_lease() {
    let selector = "board=x,arch in (arm64),!broken,metadata.jumpstarter.dev/team=forged,jumpstarter.dev/lease-ended=true,\
                    jumpstarter.dev/name=rig";
    let selector = Selector::parse(selector).unwrap();
    assert_eq!(
        lease_labels(&selector, &map(&[("team", "qa"), ("run", "7")])),
        map(&[
            ("board", "x"),
            ("jumpstarter.dev/name", "rig"),
            ("metadata.jumpstarter.dev/run", "7"),
            ("metadata.jumpstarter.dev/team", "qa"),
        ])
    );
}

#[test]
fn labels_of_an_exporter_that_registers() {
    let existing = map(&[("board", "x"), ("jumpstarter.dev/name", "old"), ("jumpstarter.dev/gone", "1")]);
    let reported = map(&[
        ("board", "y"),
        ("jumpstarter.dev/name", "new"),
        ("jumpstarter.dev/bad value", "1"),
        ("jumpstarter.dev/note", "not a label value"),
    ]);
    assert_eq!(sync_exporter_labels(&existing, &reported), map(&[("board", "x"), ("jumpstarter.dev/name", "new")]));
    assert_eq!(sync_exporter_labels(&existing, &BTreeMap::new()), map(&[("board", "x")]));
}
