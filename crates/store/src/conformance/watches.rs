//! Watches: nothing missed, nothing twice, from anywhere in history.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::{core, create, exporter, one, with_status, within};
use crate::{Event, EventStream, Kind, ListOptions, ResourceVersion, Store, StoreError, Write};

/// The next events of one namespace.
async fn take(stream: &mut EventStream, namespace: &str, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let event = within(stream.next()).await.expect("a watch does not end").expect("an event");
        if event.object().namespace() == namespace {
            events.push(event);
        }
    }
    events
}

fn describe(event: &Event) -> String {
    let what = match event {
        Event::Added(_) => "added",
        Event::Modified(_) => "modified",
        Event::Deleted(_) => "deleted",
    };
    format!("{what} {}", event.object().name())
}

/// From a list's version on: every change once, in order, with the object as it then was.
pub async fn a_watch_continues_a_list(store: Arc<dyn Store>, namespace: String) {
    let before = create(&*store, exporter(&namespace, "before")).await;
    let list = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.expect("list");
    let mut stream = within(store.watch(&[Kind::Exporter], list.resource_version)).await.expect("watch");
    let added = create(&*store, exporter(&namespace, "new")).await;
    let changed = one(&*store, Write::UpdateStatus(with_status(&added, json!({ "endpoint": "x" })))).await;
    one(&*store, Write::Delete(before.key().clone(), None)).await.expect("delete");

    let events = take(&mut stream, &namespace, 3).await;
    let described: Vec<_> = events.iter().map(describe).collect();
    assert_eq!(described, ["added new", "modified new", "deleted before"]);
    assert_eq!(events[0].object(), &added);
    assert_eq!(events[1].object(), &changed.expect("write"));
    assert_eq!(events[2].object().uid(), before.uid());
    assert!(events.windows(2).all(|pair| pair[0].resource_version() < pair[1].resource_version()));
}

/// A watch may start at any version that an event had.
pub async fn a_watch_resumes_anywhere(store: Arc<dyn Store>, namespace: String) {
    let list = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.expect("list");
    for number in 0..5 {
        create(&*store, exporter(&namespace, &format!("e{number}"))).await;
    }
    let mut whole = within(store.watch(&[Kind::Exporter], list.resource_version)).await.expect("watch");
    let events = take(&mut whole, &namespace, 5).await;
    for (position, event) in events.iter().enumerate().take(4) {
        let mut rest = within(store.watch(&[Kind::Exporter], event.resource_version())).await.expect("watch");
        assert_eq!(take(&mut rest, &namespace, 4 - position).await, events[position + 1..]);
    }
}

/// Other kinds do not show.
pub async fn a_watch_shows_only_its_kinds(store: Arc<dyn Store>, namespace: String) {
    let list = within(store.list(Kind::Secret, &namespace, ListOptions::default())).await.expect("list");
    let kinds = [Kind::Secret, Kind::ConfigMap];
    let mut stream = within(store.watch(&kinds, list.resource_version)).await.expect("watch");
    create(&*store, exporter(&namespace, "e")).await;
    create(&*store, core(Kind::Secret, &namespace, "s", &json!({}))).await;
    create(&*store, core(Kind::ConfigMap, &namespace, "c", &json!({}))).await;
    let described: Vec<_> = take(&mut stream, &namespace, 2).await.iter().map(describe).collect();
    assert_eq!(described, ["added s", "added c"]);
}

/// Watches opened at any time during a storm of writes all tell the same story as the final list.
pub async fn a_watch_has_no_gap_and_no_repeat(store: Arc<dyn Store>, namespace: String) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 40;
    let writers = (0..WRITERS).map(|writer| {
        let (store, namespace) = (&store, &namespace);
        async move {
            for round in 0..ROUNDS {
                let name = format!("w{writer}-{}", round % 5);
                let stored = create(&**store, exporter(namespace, &name)).await;
                let status = json!({ "endpoint": format!("{round}") });
                one(&**store, Write::UpdateStatus(with_status(&stored, status))).await.expect("write");
                if round < ROUNDS - 5 {
                    one(&**store, Write::Delete(stored.key().clone(), None)).await.expect("delete");
                }
            }
        }
    });
    let watchers = (0..6).map(|_| follow(&*store, &namespace));
    let (_, told) = futures::join!(futures::future::join_all(writers), futures::future::join_all(watchers));
    let list = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.expect("list");
    let truth: BTreeMap<_, _> =
        list.items.iter().map(|item| (item.name().to_owned(), item.resource_version())).collect();
    assert_eq!(truth.len(), WRITERS * 5);
    for state in told {
        assert_eq!(state, truth);
    }
}

/// Keeps a list up to date by a watch until all writers are done; every event must fit what came before.
async fn follow(store: &dyn Store, namespace: &str) -> BTreeMap<String, ResourceVersion> {
    tokio::task::yield_now().await;
    let (list, mut stream) = loop {
        let list = within(store.list(Kind::Exporter, namespace, ListOptions::default())).await.expect("list");
        match within(store.watch(&[Kind::Exporter], list.resource_version)).await {
            Ok(stream) => break (list, stream),
            // A store may remember no more than somebody has asked for, who listed a moment later.
            Err(StoreError::Gone { .. }) => {}
            Err(error) => panic!("watch: {error}"),
        }
    };
    let mut state: BTreeMap<_, _> =
        list.items.iter().map(|item| (item.name().to_owned(), item.resource_version())).collect();
    let mut at = list.resource_version;
    loop {
        if state.len() == 20 && finished(store, namespace, &state).await {
            return state;
        }
        let event = within(stream.try_next()).await.expect("an event").expect("a watch does not end");
        assert!(event.resource_version() > at, "events come once and in order");
        at = event.resource_version();
        if event.object().namespace() != namespace {
            continue;
        }
        let name = event.object().name().to_owned();
        match event {
            Event::Added(_) => assert_eq!(state.insert(name, at), None, "added twice"),
            Event::Modified(_) => assert!(state.insert(name, at).is_some(), "modified before it was added"),
            Event::Deleted(_) => assert!(state.remove(&name).is_some(), "deleted before it was added"),
        }
    }
}

/// Whether every exporter carries the status of a last round, so that nothing more will happen.
async fn finished(store: &dyn Store, namespace: &str, state: &BTreeMap<String, ResourceVersion>) -> bool {
    let list = within(store.list(Kind::Exporter, namespace, ListOptions::default())).await.expect("list");
    let done = |endpoint: &serde_json::Value| {
        endpoint.as_str().and_then(|text| text.parse().ok()).is_some_and(|round: u32| round >= 35)
    };
    list.items.len() == 20
        && list.items.iter().all(|item| {
            done(&item.value()["status"]["endpoint"]) && state.get(item.name()) == Some(&item.resource_version())
        })
}
