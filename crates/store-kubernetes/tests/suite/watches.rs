//! Watches: shared, resumed, never silent.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, future::join_all};
use jumpstarter_kube_testkit::{ApiServer, Rule, Then};
use jumpstarter_model::Lease;
use jumpstarter_store::{Event, EventStream, Kind, ListOptions, ResourceVersion, Store, StoreError, Write};
use serde_json::json;

use crate::{
    Lab, PATIENCE, create, describe, direct, edit, eventually, exporter, next, next_error, object, one, watch,
    with_endpoint, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_share_one_upstream_watch_for_each_kind() {
    let lab = Lab::new(|_| {}).await;
    let from = within(lab.store.list(Kind::Exporter, "", ListOptions::default())).await.unwrap().resource_version;
    let kinds = [Kind::Exporter, Kind::Lease];
    let streams = join_all((0..50).map(|_| lab.store.watch(&kinds, from))).await;
    let mut streams: Vec<EventStream> = streams.into_iter().map(Result::unwrap).collect();
    create(&lab.other, lab.exporter("a")).await;
    for stream in &mut streams {
        assert_eq!(describe(&next(stream).await), "+a");
    }
    assert_eq!((lab.watches("exporters"), lab.watches("leases")), (1, 1));
    assert_eq!((lab.watches("secrets"), lab.watches("clients")), (0, 0), "nobody asked for these");

    // Readers that come later, and from another version, need no watch of their own either.
    let mut late = watch(&lab.store).await;
    create(&lab.other, lab.exporter("b")).await;
    assert_eq!(describe(&next(&mut late).await), "+b");
    assert_eq!(lab.watches("exporters"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_watch_resumes_where_it_was() {
    let lab = Lab::new(|_| {}).await;
    let mut stream = watch(&lab.store).await;
    for number in 0..6 {
        create(&lab.other, lab.exporter(&format!("before-{number}"))).await;
        lab.proxy.cut();
        create(&lab.other, lab.exporter(&format!("after-{number}"))).await;
    }
    for number in 0..6 {
        assert_eq!(describe(&next(&mut stream).await), format!("+before-{number}"));
        assert_eq!(describe(&next(&mut stream).await), format!("+after-{number}"));
    }
    assert!(lab.watches("exporters") > 1, "the watch was cut");
}

/// The server goes away and comes back in the middle of a storm of writes by somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_leaves_no_gap_and_no_repeat() {
    const ROUNDS: usize = 60;
    let server = ApiServer::start().await;
    let namespace = server.namespace("restart").await;
    let (store, other) = (direct(&server, &namespace), direct(&server, &namespace));
    let mut stream = watch(&store).await;

    let writing = async {
        for round in 0..ROUNDS {
            if round == ROUNDS / 3 {
                server.restart();
            }
            let write = Write::Create(exporter(&namespace, &format!("e{round:03}")));
            within(async {
                // While it is away the outcome is unknown, so the object may be there already.
                while let Err(error) = other.transact(vec![write.clone()]).await {
                    match error {
                        StoreError::AlreadyExists(_) => break,
                        StoreError::Unavailable(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                        error => panic!("{error}"),
                    }
                }
            })
            .await;
        }
    };
    let reading = async {
        let mut told = BTreeMap::new();
        let mut at = ResourceVersion::ZERO;
        while told.len() < ROUNDS {
            let event = next(&mut stream).await;
            assert!(event.resource_version() > at, "in order");
            at = event.resource_version();
            assert!(matches!(event, Event::Added(_)), "{event:?}");
            assert_eq!(told.insert(event.object().name().to_owned(), at), None, "told twice");
        }
        told
    };
    let ((), told) = futures::join!(writing, reading);
    let list = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.unwrap();
    let truth: BTreeMap<_, _> =
        list.items.iter().map(|item| (item.name().to_owned(), item.resource_version())).collect();
    assert_eq!(told, truth);
}

/// What happened while the server forgot: the difference between two lists, as events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_version_is_bridged_by_a_list() {
    let lab = Lab::new(|_| {}).await;
    for name in ["gone", "kept", "changed", "replaced"] {
        create(&lab.other, lab.exporter(name)).await;
    }
    let mut stream = watch(&lab.store).await;
    create(&lab.other, lab.exporter("last")).await;
    assert_eq!(describe(&next(&mut stream).await), "+last");

    lab.proxy.add(Rule::path("watch=", Then::Status { code: 503, retry_after: None }));
    lab.proxy.cut();
    one(&lab.other, Write::Delete(lab.key("gone"), None)).await.unwrap();
    one(&lab.other, Write::UpdateStatus(with_endpoint(&lab.exporter("changed"), "x"))).await.unwrap();
    one(&lab.other, Write::Delete(lab.key("replaced"), None)).await.unwrap();
    create(&lab.other, lab.exporter("replaced")).await;
    create(&lab.other, lab.exporter("new")).await;
    let lists = || lab.proxy.seen().iter().filter(|seen| !seen.is_watch() && seen.uri.contains("limit=")).count();
    let before = lists();
    lab.proxy.clear();
    lab.proxy.add(Rule::path("watch=", Then::Status { code: 410, retry_after: None }).times(1));

    let mut told = Vec::new();
    let mut at = ResourceVersion::ZERO;
    for _ in 0..5 {
        let event = next(&mut stream).await;
        assert!(event.resource_version() > at, "in order");
        at = event.resource_version();
        told.push(describe(&event));
    }
    let place = |what: &str| told.iter().position(|told| told == what).unwrap_or_else(|| panic!("{what} in {told:?}"));
    assert!(place("-replaced") < place("+replaced"));
    for what in ["-gone", "~changed", "+new"] {
        place(what);
    }
    eventually(|| lists() > before).await;
    // Any of these events' versions is one to resume at.
    let mut again = within(lab.store.watch(&[Kind::Exporter], at)).await.unwrap();
    create(&lab.other, lab.exporter("after")).await;
    assert_eq!(describe(&next(&mut stream).await), "+after");
    assert_eq!(describe(&next(&mut again).await), "+after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_falls_silent_is_opened_anew() {
    let lab = Lab::new(|options| options.watch_idle = Duration::from_secs(1)).await;
    let mut stream = watch(&lab.store).await;
    create(&lab.other, lab.exporter("before")).await;
    assert_eq!(describe(&next(&mut stream).await), "+before");
    lab.proxy.stall_watches();
    let opened = lab.watches("exporters");
    create(&lab.other, lab.exporter("after")).await;
    eventually(|| lab.watches("exporters") > opened).await;
    lab.proxy.clear();
    assert_eq!(describe(&next(&mut stream).await), "+after");
}

/// Long before silence is suspicious, a write of our own that does not come back is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_does_not_echo_is_opened_anew() {
    let lab = Lab::new(|options| {
        options.watch_idle = PATIENCE * 10;
        options.echo_timeout = Duration::from_millis(500);
    })
    .await;
    let mut stream = watch(&lab.store).await;
    create(&lab.store, lab.exporter("before")).await;
    assert_eq!(describe(&next(&mut stream).await), "+before");
    lab.proxy.stall_watches();
    let opened = lab.watches("exporters");
    create(&lab.store, lab.exporter("after")).await;
    eventually(|| lab.watches("exporters") > opened).await;
    lab.proxy.clear();
    assert_eq!(describe(&next(&mut stream).await), "+after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_told_to_list_again() {
    let lab = Lab::new(|options| options.history_events = 8).await;
    let mut slow = watch(&lab.store).await;
    let mut quick = watch(&lab.store).await;
    for number in 0..20 {
        create(&lab.other, lab.exporter(&format!("e{number}"))).await;
        assert_eq!(describe(&next(&mut quick).await), format!("+e{number}"));
    }
    assert!(matches!(next_error(&mut slow).await, StoreError::Gone { .. }));
    assert!(within(slow.next()).await.is_none(), "an error ends the stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_outside_of_history_are_gone() {
    let lab = Lab::new(|_| {}).await;
    let newest = create(&lab.store, lab.exporter("a")).await.resource_version();
    for from in [ResourceVersion(newest.0 + 1_000_000), ResourceVersion::ZERO] {
        let refused = within(lab.store.watch(&[Kind::Exporter], from)).await.err();
        assert!(matches!(refused, Some(StoreError::Gone { .. })), "{from}: {refused:?}");
    }
    // Another process' version, that this one has not heard of.
    let other = create(&lab.other, lab.exporter("b")).await.resource_version();
    let mut stream = within(lab.store.watch(&[Kind::Exporter], other)).await.unwrap();
    create(&lab.other, lab.exporter("c")).await;
    assert_eq!(describe(&next(&mut stream).await), "+c");
}

/// A bad duration is text to the schema; only who decodes that one object notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_object_blocks_no_other() {
    let lab = Lab::new(|_| {}).await;
    let from = within(lab.store.list(Kind::Lease, "", ListOptions::default())).await.unwrap().resource_version;
    let mut stream = within(lab.store.watch(&[Kind::Lease], from)).await.unwrap();
    let lease = |name: &str, duration: &str| {
        json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease",
            "metadata": { "name": name, "namespace": lab.namespace },
            "spec": { "clientRef": { "name": "c" }, "exporterRef": { "name": "e" }, "duration": duration },
        })
    };
    for (name, duration) in [("a-good", "1h"), ("b-poison", "a while"), ("c-good", "5m")] {
        lab.server.kubectl_with(&["apply", "-f", "-"], &lease(name, duration).to_string()).unwrap();
    }
    for (name, good) in [("a-good", true), ("b-poison", false), ("c-good", true)] {
        let event = next(&mut stream).await;
        assert_eq!(describe(&event), format!("+{name}"));
        assert_eq!(event.object().decode::<Lease>().is_ok(), good, "{name}");
    }
    let poison = object(lease("b-poison", "a while"));
    let mended = one(&lab.store, Write::Update(edit(&poison, |value| value["spec"]["duration"] = json!("1m")))).await;
    assert!(mended.unwrap().decode::<Lease>().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_store_watches_before_anybody_asks() {
    let lab = Lab::new(|_| {}).await;
    within(lab.store.warm(&[Kind::Exporter, Kind::Secret])).await.unwrap();
    eventually(|| lab.watches("exporters") == 1 && lab.watches("secrets") == 1).await;
    let mut stream = watch(&lab.store).await;
    create(&lab.other, lab.exporter("a")).await;
    assert_eq!(describe(&next(&mut stream).await), "+a");
    assert_eq!(lab.watches("exporters"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_ends_its_watches() {
    let lab = Lab::new(|_| {}).await;
    let mut stream = watch(&lab.store).await;
    let Lab { store, .. } = lab;
    drop(store);
    assert!(matches!(next_error(&mut stream).await, StoreError::Unavailable(_)));
}
