//! Rows of tags and context, with the exact texts.

use std::collections::BTreeMap;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn numbered(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|index| (format!("k{index}"), "v".to_owned())).collect()
}

#[track_caller]
fn tags_refused(pairs: &[(&str, &str)], message: &str) {
    assert_eq!(validate_tags(&map(pairs), 10).unwrap_err().to_string(), message);
}

#[test]
fn good_tags() {
    assert_eq!(validate_tags(&numbered(10), 10), Ok(()));
    assert_eq!(validate_tags(&map(&[("team", "qa"), ("empty", ""), ("A_b.c", "1")]), 10), Ok(()));
    assert_eq!(validate_tags(&BTreeMap::new(), 0), Ok(()));
}

#[test]
fn the_number_of_tags_is_bounded() {
    let count = |count, max| validate_tags(&numbered(count), max).map_err(|error| error.to_string());
    assert_eq!(count(11, 10), Err("too many tags: 11, at most 10 are allowed".to_owned()));
    assert_eq!(count(11, 100), Err("too many tags: 11, at most 10 are allowed".to_owned()));
    assert_eq!(count(3, 2), Err("too many tags: 3, at most 2 are allowed".to_owned()));
}

#[test]
fn bad_tags() {
    tags_refused(&[("a/b", "c")], "tag key `a/b` must not contain `/`");
    tags_refused(
        &[("jumpstarter.dev/x", "c")],
        "tag key `jumpstarter.dev/x` must not start with the reserved prefix `jumpstarter.dev/`",
    );
    tags_refused(
        &[("metadata.jumpstarter.dev/x", "c")],
        "tag key `metadata.jumpstarter.dev/x` must not start with the reserved prefix `metadata.jumpstarter.dev/`",
    );
    for key in ["", "-a", "a b", "ü"] {
        tags_refused(
            &[(key, "c")],
            &format!(
                "tag key `{key}` is malformed: use at most 63 letters, digits, `-`, `_` or `.`, with a letter or digit at \
                 both ends"
            ),
        );
    }
    assert!(matches!(validate_tags(&map(&[(&"k".repeat(64), "v")]), 10), Err(LimitError::TagKey { .. })));
    assert!(matches!(validate_tags(&map(&[("k", &"v".repeat(64))]), 10), Err(LimitError::TagValue { .. })));
    tags_refused(
        &[("k", "a b")],
        "tag `k`: `a b` is not a label value: use at most 63 letters, digits, `-`, `_` or `.`, with a letter or digit at \
         both ends, or nothing",
    );
}

#[test]
fn context() {
    let refused = |pairs: &[(&str, &str)]| validate_context(&map(pairs)).unwrap_err().to_string();
    assert_eq!(validate_context(&numbered(8)), Ok(()));
    // Characters, not bytes, and any of them.
    assert_eq!(validate_context(&map(&[(&"ü".repeat(32), &"ü /\n".repeat(16))])), Ok(()));
    assert_eq!(
        validate_context(&numbered(9)).unwrap_err().to_string(),
        "too many context entries: 9, at most 8 are allowed"
    );
    let long = "k".repeat(33);
    assert_eq!(refused(&[(&long, "v")]), format!("context key `{long}` is 33 characters long, at most 32 are allowed"));
    assert_eq!(
        refused(&[("k", &"v".repeat(65))]),
        "context value of `k` is 65 characters long, at most 64 are allowed"
    );
}
