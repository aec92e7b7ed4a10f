//! Lists: pages, filters, labels (protocol.md §1.8).

use jumpstarter_protocol::client::v1::{Lease, ListExportersRequest, ListLeasesRequest};
use tonic::Code;

use crate::support::{Lab, wanted};

fn names(leases: &[Lease]) -> Vec<&str> {
    let mut names: Vec<_> = leases.iter().map(|lease| lease.name.rsplit('/').next().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn pages_have_no_gap_and_no_repetition_while_things_change() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    for number in 0..7 {
        lab.exporter(&format!("e{number}"), &[("board", "x")]).await;
    }
    lab.exporter("hidden", &[("board", "y")]).await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListExportersRequest {
            page_size: 3,
            page_token: page_token.clone(),
            filter: "board=x".into(),
            ..ListExportersRequest::default()
        };
        let page = alice.list_exporters(request).await.unwrap();
        assert!(page.exporters.len() <= 3);
        seen.extend(page.exporters.into_iter().map(|exporter| exporter.name));
        if page.next_page_token.is_empty() {
            break;
        }
        // The object that the page ended with goes away; the next page begins behind it all the same.
        if page_token.is_empty() {
            lab.delete(jumpstarter_store::Kind::Exporter, "e2").await;
        }
        page_token = page.next_page_token;
    }
    let expected: Vec<_> = (0..7).map(|number| format!("namespaces/lab/exporters/e{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn leases_are_filtered_by_labels_tags_and_whether_they_ended() {
    let lab = Lab::start().await;
    lab.exporter("away", &[("board", "a"), ("site", "x")]).await;
    let alice = lab.client("alice").await;
    let tagged = |tag: &str| [("team".to_owned(), tag.to_owned())].into();
    for (id, selector, tag) in [
        ("one", "board=a", "red"),
        ("two", "board=a,site=x", "blue"),
        ("three", "site=x", "red"),
        ("four", "site=x", "red"),
    ] {
        alice.create(id, Lease { tags: tagged(tag), ..wanted(selector) }).await.unwrap();
    }
    alice.delete("four").await.unwrap();
    alice.await_end("four").await;
    for (filter, tag_filter, only_active, expected) in [
        ("", "", None, &["one", "three", "two"][..]),
        ("", "", Some(true), &["one", "three", "two"]),
        ("", "", Some(false), &["four", "one", "three", "two"]),
        ("board=a", "", None, &["one", "two"]),
        ("site", "", None, &["three", "two"]),
        ("!site", "", None, &["one"]),
        ("board notin (a)", "", None, &["three"]),
        ("", "team=red", None, &["one", "three"]),
        ("", "team in (red, blue)", None, &["one", "three", "two"]),
        ("board=a", "team!=red", None, &["two"]),
        ("", "team=red", Some(false), &["four", "one", "three"]),
        ("", "other", None, &[]),
    ] {
        let request = ListLeasesRequest {
            filter: filter.into(),
            tag_filter: tag_filter.into(),
            only_active,
            ..ListLeasesRequest::default()
        };
        let page = alice.list(request).await.unwrap();
        assert_eq!(names(&page.leases), expected, "filter {filter:?}, tags {tag_filter:?}, active {only_active:?}");
    }
    for request in [
        ListLeasesRequest { filter: "a b".into(), ..ListLeasesRequest::default() },
        ListLeasesRequest { tag_filter: "in (".into(), ..ListLeasesRequest::default() },
        ListLeasesRequest { tag_filter: "a/b=c".into(), ..ListLeasesRequest::default() },
        ListLeasesRequest { page_size: -1, ..ListLeasesRequest::default() },
        ListLeasesRequest { page_token: "not a token".into(), ..ListLeasesRequest::default() },
        ListLeasesRequest { page_token: "/w".into(), ..ListLeasesRequest::default() },
    ] {
        let refused = alice.list(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
    }
}

#[tokio::test]
async fn hidden_and_deprecated_labels_are_shown_only_when_asked_for() {
    let lab = Lab::with(|config| {
        config.live.change(|settings| {
            settings.hidden_labels = vec!["secret".into()];
            settings.deprecated_labels = [("old".to_owned(), "use new".to_owned())].into();
        });
    })
    .await;
    lab.exporter("dut", &[("board", "x"), ("secret", "s"), ("old", "o")]).await;
    let alice = lab.client("alice").await;
    let keys = |exporter: &jumpstarter_protocol::client::v1::Exporter| {
        let mut keys: Vec<_> = exporter.labels.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let shown = alice.exporter("dut", false).await.unwrap();
    assert_eq!(keys(&shown), ["board"]);
    assert_eq!(shown.deprecated_labels.get("old").map(String::as_str), Some("use new"));
    assert_eq!(keys(&alice.exporter("dut", true).await.unwrap()), ["board", "old", "secret"]);
    let listed = alice.list_exporters(ListExportersRequest::default()).await.unwrap().exporters.remove(0);
    assert_eq!(keys(&listed), ["board"]);
    // Hidden is not forbidden: the label still selects.
    let lease = alice.create("one", wanted("old=o,secret=s")).await.unwrap();
    assert!(lease.effective_end_time.is_none());
    assert_eq!(lease.deprecated_labels.get("old").map(String::as_str), Some("use new"));
}

#[tokio::test]
async fn settings_change_without_a_restart() {
    let lab = Lab::start().await;
    lab.exporter("dut", &[("board", "x"), ("secret", "s")]).await;
    let alice = lab.client("alice").await;
    let shown = alice.exporter("dut", false).await.unwrap();
    assert!(shown.labels.contains_key("secret"), "{shown:?}");
    let tagged = || Lease {
        tags: [("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())].into(),
        ..wanted("board=x")
    };
    alice.create("before", tagged()).await.unwrap();

    lab.config.live.change(|settings| {
        settings.hidden_labels = vec!["secret".into()];
        settings.max_tags = 1;
        settings.token_lifetime = Some(std::time::Duration::from_mins(1));
    });
    let shown = alice.exporter("dut", false).await.unwrap();
    assert!(!shown.labels.contains_key("secret"), "{shown:?}");
    let refused = alice.create("after", tagged()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    // The issuer hears of it from a task.
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let now = jumpstarter_model::Timestamp::now();
        let issued = lab.issuer.issue("client:lab:x:1", now).unwrap();
        if issued.expires_at.duration_since(now) <= jiff::SignedDuration::from_secs(60) {
            break;
        }
        assert!(tokio::time::Instant::now() < limit, "{issued:?}");
        tokio::task::yield_now().await;
    }
}
