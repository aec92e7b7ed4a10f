//! Lists: order, scope, selectors, pages.

use std::sync::Arc;

use jumpstarter_model::{Lease, Selector};
use serde_json::json;

use super::{create, edit, exporter, lease, within};
use crate::{Kind, List, ListOptions, Object, Store, StoreError};

async fn list(store: &dyn Store, kind: Kind, namespace: &str, options: ListOptions) -> List {
    within(store.list(kind, namespace, options)).await.expect("list")
}

fn names(items: &[Object]) -> Vec<&str> {
    items.iter().map(Object::name).collect()
}

fn labelled(object: &Object, labels: serde_json::Value) -> Object {
    edit(object, |value| value["metadata"]["labels"] = labels)
}

/// By name, of one kind, in one namespace or in all.
pub async fn lists_are_sorted_and_scoped(store: Arc<dyn Store>, namespace: String) {
    for name in ["b", "a", "c"] {
        create(&*store, exporter(&namespace, name)).await;
    }
    create(&*store, lease(&namespace, "a", "c")).await;
    let found = list(&*store, Kind::Exporter, &namespace, ListOptions::default()).await;
    assert_eq!(names(&found.items), ["a", "b", "c"]);
    assert_eq!(found.continue_token, None);
    let newest = found.items.iter().map(Object::resource_version).max().expect("three");
    assert!(found.resource_version >= newest);
    assert!(list(&*store, Kind::Exporter, "elsewhere", ListOptions::default()).await.items.is_empty());
    let everywhere = list(&*store, Kind::Exporter, "", ListOptions::default()).await;
    assert!(found.items.iter().all(|item| everywhere.items.contains(item)));
}

/// Every operator of the selector syntax.
pub async fn lists_select_by_label(store: Arc<dyn Store>, namespace: String) {
    create(&*store, labelled(&exporter(&namespace, "x1"), json!({ "board": "x", "rack": "1" }))).await;
    create(&*store, labelled(&exporter(&namespace, "x2"), json!({ "board": "x", "rack": "2" }))).await;
    create(&*store, labelled(&exporter(&namespace, "y1"), json!({ "board": "y" }))).await;
    create(&*store, exporter(&namespace, "zz")).await;
    let cases: [(&str, &[&str]); 8] = [
        ("board=x", &["x1", "x2"]),
        ("board=x,rack=1", &["x1"]),
        ("board!=x", &["y1", "zz"]),
        ("board in (x,y)", &["x1", "x2", "y1"]),
        ("rack notin (1)", &["x2", "y1", "zz"]),
        ("rack", &["x1", "x2"]),
        ("!board", &["zz"]),
        ("board=none", &[]),
    ];
    for (text, expected) in cases {
        let selector = Selector::parse(text).expect("a selector");
        let options = ListOptions { label_selector: Some(selector), ..Default::default() };
        assert_eq!(names(&list(&*store, Kind::Exporter, &namespace, options).await.items), expected, "{text}");
    }
}

/// Pages hold what was asked for, and all of it once; a watch can start at the version that they share.
pub async fn lists_come_in_pages(store: Arc<dyn Store>, namespace: String) {
    for number in 0..7 {
        let board = if number % 2 == 0 { "even" } else { "odd" };
        create(&*store, labelled(&exporter(&namespace, &format!("e{number}")), json!({ "board": board }))).await;
    }
    for (selector, size, expected) in [
        (None, 3, vec![vec!["e0", "e1", "e2"], vec!["e3", "e4", "e5"], vec!["e6"]]),
        (None, 7, vec![vec!["e0", "e1", "e2", "e3", "e4", "e5", "e6"]]),
        (Some("board=even"), 2, vec![vec!["e0", "e2"], vec!["e4", "e6"]]),
    ] {
        let label_selector = selector.map(|text| Selector::parse(text).expect("a selector"));
        let mut options = ListOptions { label_selector, limit: Some(size), continue_token: None };
        let mut versions = Vec::new();
        let mut pages = Vec::new();
        loop {
            let page = list(&*store, Kind::Exporter, &namespace, options.clone()).await;
            versions.push(page.resource_version);
            pages.push(names(&page.items).into_iter().map(str::to_owned).collect::<Vec<_>>());
            options.continue_token = page.continue_token;
            if options.continue_token.is_none() {
                break;
            }
        }
        assert_eq!(pages, expected);
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{versions:?}");
    }
}

/// A token that the store did not make is an error, not a first page.
pub async fn a_bad_token_is_refused(store: Arc<dyn Store>, namespace: String) {
    let options = ListOptions { limit: Some(1), continue_token: Some("nonsense".into()), ..Default::default() };
    let refused = within(store.list(Kind::Exporter, &namespace, options)).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
}

/// The schema takes any text for a duration; the one bad lease is an error of its own.
pub async fn one_object_that_does_not_decode_spoils_no_other(store: Arc<dyn Store>, namespace: String) {
    create(&*store, lease(&namespace, "good", "c")).await;
    let bad = edit(&lease(&namespace, "poison", "c"), |value| value["spec"]["duration"] = json!("a while"));
    create(&*store, bad).await;
    let found = list(&*store, Kind::Lease, &namespace, ListOptions::default()).await;
    let decoded: Vec<_> = found.items.iter().map(Object::decode::<Lease>).collect();
    assert!(decoded[0].is_ok());
    let error = decoded[1].as_ref().expect_err("the duration is no duration").to_string();
    assert!(error.contains("poison"), "{error}");
}
