//! The grammar in rows, and matching against an evaluator too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn canonical(text: &str, expected: &str) {
    let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(selector.to_string(), expected, "{text}");
    // Through storage and back nothing changes.
    let stored = Selector::from_label_selector(&selector.to_label_selector()).unwrap();
    assert_eq!(stored.to_string(), expected, "{text}, stored");
    assert_eq!(Selector::parse(expected).unwrap(), selector, "{text}, read back");
}

#[track_caller]
fn refused(text: &str, message: &str) {
    assert_eq!(Selector::parse(text).expect_err(text).to_string(), message, "{text}");
}

#[test]
fn canonical_texts() {
    for (text, expected) in [
        ("", ""),
        ("  \t\r\n", ""),
        ("a=b", "a=b"),
        ("a==b", "a=b"),
        ("a = b", "a=b"),
        ("a=", "a="),
        ("a=,b", "a=,b"),
        ("a!=", "a notin (,)"),
        ("a!=b", "a notin (b)"),
        ("a!=y,a!=x", "a notin (x,y)"),
        ("a!=x,a!=x", "a notin (x)"),
        ("a in (x)", "a in (x)"),
        ("a in (y,x,y)", "a in (x,y)"),
        ("a in ( x , y )", "a in (x,y)"),
        ("a in(x)", "a in (x)"),
        ("a notin (x)", "a notin (x)"),
        ("a in (,)", "a in (,)"),
        ("a in (x,)", "a in (,x)"),
        ("a in (,x)", "a in (,x)"),
        ("a in (x,,y)", "a in (,x,y)"),
        ("a", "a"),
        ("!a", "!a"),
        ("! a", "!a"),
        (" !a , b ", "!a,b"),
        ("z=1,a=2", "a=2,z=1"),
        ("a=b,a=b", "a=b"),
        ("a!=x,a notin (y)", "a notin (y),a notin (x)"),
        ("a,a=x,a!=y", "a=x,a,a notin (y)"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin=in", "notin=in"),
        ("in", "in"),
        ("!notin,in", "in,!notin"),
        ("example.com/board=x", "example.com/board=x"),
        ("A_b.c-9=v_1.2-3", "A_b.c-9=v_1.2-3"),
    ] {
        canonical(text, expected);
    }
}

#[test]
fn refused_texts() {
    let syntax = |text: &str, found: &str, expected: &str| {
        refused(text, &format!("selector `{text}`: found {found}, expected {expected}"));
    };
    let operator = "`=`, `!=`, `in`, `notin`, `,` or the end";
    syntax(",", "`,`", "a label key or `!`");
    syntax(",a", "`,`", "a label key or `!`");
    syntax("a,", "the end", "a label key or `!`");
    syntax("a,,b", "`,`", "a label key or `!`");
    syntax("=b", "`=`", "a label key or `!`");
    syntax("!", "the end", "a label key");
    syntax("!!a", "`!`", "a label key");
    syntax("!a=b", "`=`", "`,` or the end");
    syntax("a b", "`b`", operator);
    syntax("a=b c", "`c`", "`,` or the end");
    syntax("a=b=c", "`=`", "`,` or the end");
    syntax("a===b", "`=`", "a label value");
    syntax("a!b", "`!`", operator);
    syntax("a>1", "`>`", operator);
    syntax("a<1", "`<`", operator);
    syntax("a(b)", "`(`", operator);
    syntax("a IN (b)", "`IN`", operator);
    syntax("a in", "the end", "`(`");
    syntax("a in b", "`b`", "`(`");
    syntax("a in (", "the end", "a label value, `,` or `)`");
    syntax("a in (b", "the end", "`,` or `)`");
    syntax("a in (b c)", "`c`", "`,` or `)`");
    syntax("a in (b))", "`)`", "`,` or the end");
    syntax("a in ((b))", "`(`", "a label value, `,` or `)`");
    syntax("a in (b=c)", "`=`", "`,` or `)`");
    refused("a in ()", "selector: `a` needs at least one value with `in` and `notin`");
    refused("a notin ( )", "selector: `a` needs at least one value with `in` and `notin`");
    refused("a=x,b,a=y", "selector: `a` cannot be both `x` and `y`");
    for text in ["-a=b", "a/b/c", "a=b/c", "a=-", "a!=b:c", "ü", "a in (b,c d-)", "!a@b", "a=b\u{a0}"] {
        assert!(Selector::parse(text).is_err(), "{text}");
    }
    assert!(matches!(Selector::parse("a/b/c"), Err(SelectorError::Label(LabelError::Key(_)))));
    assert!(matches!(Selector::parse("a!=b/c"), Err(SelectorError::Label(LabelError::Value(_)))));
}

#[test]
fn bounds() {
    let many = |count: usize| (0..count).map(|index| format!("k{index}")).collect::<Vec<_>>().join(",");
    assert_eq!(Selector::parse(&many(64)).unwrap().requirements().len(), 64);
    refused(&many(65), "selector has 65 requirements: use at most 64");
    refused(&"a".repeat(4097), "selector is 4097 bytes long: use at most 4096");
    let long_value = format!("a in ({})", "x,".repeat(2000));
    assert!(Selector::parse(&long_value).is_ok());
    // Nothing in the text decides how long the message is.
    let error = Selector::parse(&format!("a {}", "b".repeat(4000))).unwrap_err().to_string();
    assert!(error.len() < 600, "{error}");
}

#[test]
fn a_filter_may_contradict_itself() {
    let filter = Selector::parse_filter("a=x,a=y").unwrap();
    assert!(!filter.matches(&labels(&[("a", "x")])));
    let stored = Selector::from_label_selector(&filter.to_label_selector()).unwrap();
    assert!(stored.is_equivalent(&filter));
}

#[test]
fn the_structured_form() {
    let selector = Selector::parse("z!=1,b=2,a in (y,x),c,!d,e notin (1),a!=q").unwrap();
    let stored = selector.to_label_selector();
    assert_eq!(stored.match_labels, Some(labels(&[("b", "2")])));
    let expressions = stored.match_expressions.unwrap();
    let rows = expressions
        .iter()
        .map(|e| format!("{} {} {}", e.key, e.operator, e.values.clone().unwrap_or_default().join("+")))
        .collect::<Vec<_>>();
    // What came from `!=` stands last.
    assert_eq!(rows, ["a In x+y", "c Exists ", "d DoesNotExist ", "e NotIn 1", "a NotIn q", "z NotIn 1"]);
    assert_eq!(Selector::default().to_label_selector(), LabelSelector::default());
}

#[test]
fn bad_structured_forms() {
    let expression = |key: &str, operator: &str, values: Option<&[&str]>| LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: values.map(|values| values.iter().map(|value| (*value).to_owned()).collect()),
        }]),
        match_labels: None,
    };
    for (selector, message) in [
        (
            expression("a", "Gt", Some(&["1"])),
            "selector: `Gt` on `a` is not an operator: use In, NotIn, Exists or DoesNotExist",
        ),
        (
            expression("a", "in", Some(&["1"])),
            "selector: `in` on `a` is not an operator: use In, NotIn, Exists or DoesNotExist",
        ),
        (expression("a", "In", None), "selector: `a` needs at least one value with `in` and `notin`"),
        (expression("a", "NotIn", Some(&[])), "selector: `a` needs at least one value with `in` and `notin`"),
        (expression("a", "Exists", Some(&["1"])), "selector: `a` takes no values with `Exists` and `DoesNotExist`"),
    ] {
        assert_eq!(Selector::from_label_selector(&selector).unwrap_err().to_string(), message);
    }
    let label = LabelSelector { match_labels: Some(labels(&[("a b", "")])), match_expressions: None };
    assert!(Selector::from_label_selector(&label).is_err());
}

#[test]
fn matching() {
    let rig = labels(&[("board", "x"), ("arch", "arm64"), ("note", "")]);
    for (text, expected) in [
        ("", true),
        ("board=x", true),
        ("board=y", false),
        ("note=", true),
        ("none=", false),
        ("board!=y", true),
        ("board!=x", false),
        ("none!=x", true),
        ("board in (x,y)", true),
        ("board in (y,z)", false),
        ("none in (x)", false),
        ("board notin (x)", false),
        ("board notin (y)", true),
        ("none notin (y)", true),
        ("board", true),
        ("note", true),
        ("none", false),
        ("!board", false),
        ("!none", true),
        ("board=x,arch=arm64", true),
        ("board=x,arch=amd64", false),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(&rig), expected, "{text}");
    }
}

#[test]
fn equivalence() {
    let same = |a: &str, b: &str| Selector::parse(a).unwrap().is_equivalent(&Selector::parse(b).unwrap());
    assert!(same("a=x,b=y", "b = y , a == x"));
    assert!(same("a in (x)", "a=x"));
    assert!(same("a!=x,a!=y", "a notin (y,x)"));
    assert!(same("a!=x,a notin (y)", "a notin (x,y)"));
    assert!(same("a,a", "a"));
    assert!(!same("a=x", "a=y"));
    assert!(!same("a", "!a"));
    assert!(!same("a=x", ""));
}

#[test]
fn equalities_alone_are_labels() {
    let selector = Selector::parse("a=x,b in (y),c!=z,d,e=").unwrap();
    assert_eq!(selector.equality_labels(), labels(&[("a", "x"), ("e", "")]));
    assert!(!selector.is_empty() && Selector::default().is_empty());
}

type Admits = fn(Option<&str>, &[String]) -> bool;

/// A clause as text, and what it means.
#[derive(Clone, Debug)]
struct Plain {
    text: String,
    key: String,
    /// Values that satisfy it; `None` is the absent label.
    admits: Admits,
    values: Vec<String>,
}

fn plain_clause() -> impl Strategy<Value = Plain> {
    let values = prop::collection::vec("[xyz]?", 1..4);
    ("[abc]", 0..7_u8, values, "[ \t]{0,2}").prop_map(|(key, kind, values, gap)| {
        let joined = values.join(",");
        let set = if joined.is_empty() { ",".to_owned() } else { joined };
        let first = values[0].clone();
        let one = |found: Option<&str>, values: &[String]| found.is_some_and(|value| value == values[0]);
        let (text, admits): (String, Admits) = match kind {
            0 => (format!("{key}{gap}={gap}{first}"), one),
            1 => (format!("{key}{gap}=={gap}{first}"), one),
            2 => (format!("{key}{gap}!={gap}{first}"), |found, values| found != Some(values[0].as_str())),
            3 => (format!("{key} in{gap}({gap}{set}{gap})"), |found, values| {
                found.is_some_and(|value| values.iter().any(|other| other == value))
            }),
            4 => (format!("{key} notin{gap}({set})"), |found, values| {
                !found.is_some_and(|value| values.iter().any(|other| other == value))
            }),
            5 => (format!("{gap}{key}{gap}"), |found, _| found.is_some()),
            _ => (format!("{gap}!{gap}{key}"), |found, _| found.is_none()),
        };
        Plain { text, key, admits, values }
    })
}

proptest! {
    #[test]
    fn matching_agrees_with_the_plain_reading(
        clauses in prop::collection::vec(plain_clause(), 0..5),
        labels in prop::collection::btree_map("[abcd]", "[xyz]?", 0..4),
    ) {
        let text = clauses.iter().map(|clause| clause.text.as_str()).collect::<Vec<_>>().join(",");
        let selector = Selector::parse_filter(&text).unwrap();
        let plain = clauses.iter().all(|clause| {
            (clause.admits)(labels.get(&clause.key).map(String::as_str), &clause.values)
        });
        prop_assert_eq!(selector.matches(&labels), plain, "{}", text);

        let read_back = Selector::parse_filter(&selector.to_string()).unwrap();
        prop_assert_eq!(&read_back, &selector);
        prop_assert_eq!(read_back.to_string(), selector.to_string());
        let stored = Selector::from_label_selector(&selector.to_label_selector()).unwrap();
        prop_assert!(stored.is_equivalent(&selector));
        prop_assert_eq!(stored.matches(&labels), plain);
    }

    #[test]
    fn no_text_panics_and_what_reads_reads_back(text in "[a-c=!,() in\t]{0,24}|\\PC{0,32}") {
        if let Ok(selector) = Selector::parse_filter(&text) {
            prop_assert_eq!(Selector::parse_filter(&selector.to_string()).unwrap(), selector);
        }
    }
}
