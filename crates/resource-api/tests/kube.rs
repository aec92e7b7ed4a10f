//! A real kube client over the socket, as `jmp admin` uses it.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

mod lab;

use futures::{StreamExt, TryStreamExt};
use jumpstarter_model::{
    Client, ClientSpec, ClientStatus, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterSpec, Lease,
    LeaseSpec, LocalObjectReference,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams},
    core::Resource,
};
use lab::Lab;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

fn lease(name: &str) -> Lease {
    let spec = LeaseSpec {
        client_ref: LocalObjectReference::new("alice"),
        exporter_ref: Some(LocalObjectReference::new("rack-1")),
        ..LeaseSpec::default()
    };
    Lease::new(name, spec)
}

/// Create, get, list, replace, merge, apply, delete: alike for every kind.
async fn lifecycle<K>(lab: &Lab, mut new: K)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(lab.kube.clone(), "lab");
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    new.meta_mut().name = Some("one".to_owned());
    let created = api.create(&PostParams::default(), &new).await.unwrap();
    assert!(created.meta().uid.is_some() && created.meta().creation_timestamp.is_some(), "{kind}");

    let twice = api.create(&PostParams::default(), &new).await.unwrap_err();
    assert_refused(&twice, 409, "AlreadyExists", "\"one\" already exists");

    let mut next = api.get("one").await.unwrap();
    next.meta_mut().labels = Some([("board".to_owned(), "x".to_owned())].into());
    let replaced = api.replace("one", &PostParams::default(), &next).await.unwrap();
    next.meta_mut().labels = None;
    let stale = api.replace("one", &PostParams::default(), &next).await.unwrap_err();
    assert_refused(&stale, 409, "Conflict", "the object has been modified");

    let patch = json!({ "metadata": { "annotations": { "note": "n" }, "labels": { "board": "y" } } });
    let merged = api.patch("one", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(merged.meta().labels.as_ref().unwrap()["board"], "y");
    assert_ne!(merged.meta().resource_version, replaced.meta().resource_version);

    let mut other = new.clone();
    other.meta_mut().name = Some("two".to_owned());
    other.meta_mut().labels = Some([("board".to_owned(), "x".to_owned())].into());
    let apply = PatchParams::apply("test").force();
    let applied = api.patch("two", &apply, &Patch::Apply(&other)).await.unwrap();
    let again = api.patch("two", &apply, &Patch::Apply(&other)).await.unwrap();
    assert_eq!(applied.meta().resource_version, again.meta().resource_version, "{kind}: nothing changed");

    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 2, "{kind}");
    let selected = api.list(&ListParams::default().labels("board=x")).await.unwrap();
    assert_eq!(selected.items.iter().map(|item| item.meta().name.clone().unwrap()).collect::<Vec<_>>(), ["two"]);
    let page = api.list(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let token = page.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().limit(1).continue_token(&token)).await.unwrap();
    assert_eq!((rest.items.len(), rest.metadata.continue_), (1, None));
    let everywhere = Api::<K>::all(lab.kube.clone()).list(&ListParams::default()).await.unwrap();
    assert_eq!(everywhere.items.len(), 2);
    let by_name = api.list(&ListParams::default().fields("metadata.name=two")).await.unwrap();
    assert_eq!(by_name.items.len(), 1);

    let wrong = DeleteParams::default()
        .preconditions(Preconditions { uid: Some("another".to_owned()), resource_version: None });
    assert_refused(&api.delete("one", &wrong).await.unwrap_err(), 409, "Conflict", "uid another was expected");
    let status = api.delete("one", &DeleteParams::background()).await.unwrap().right().unwrap();
    assert_eq!(status.details.unwrap().uid, created.meta().uid.clone().unwrap());
    assert!(api.get_opt("one").await.unwrap().is_none());
    assert_refused(&api.delete("one", &DeleteParams::default()).await.unwrap_err(), 404, "NotFound", "not found");
    for expected in ["added one", "modified one", "modified one", "added two", "deleted one"] {
        assert_eq!(describe(&lab::within(watch.try_next()).await.unwrap().unwrap()), expected, "{kind}");
    }
}

#[track_caller]
fn assert_refused(error: &kube::Error, code: u16, reason: &str, message: &str) {
    let kube::Error::Api(status) = error else { panic!("{error:?}") };
    assert_eq!((status.code, status.reason.as_str()), (code, reason), "{status:?}");
    assert!(status.message.contains(message), "{} does not say {message}", status.message);
}

#[tokio::test]
async fn every_kind_has_its_whole_life() {
    let lab = Lab::start().await;
    lifecycle(&lab, Client::new("", ClientSpec::default())).await;
    lifecycle(&lab, Exporter::new("", ExporterSpec::default())).await;
    lifecycle(&lab, lease("")).await;
    lifecycle(&lab, ExporterAccessPolicy::new("", ExporterAccessPolicySpec::default())).await;
    lifecycle(&lab, Secret::default()).await;
    lifecycle(&lab, ConfigMap::default()).await;
    lab.stop().await;
}

#[tokio::test]
async fn status_and_spec_are_apart() {
    let lab = Lab::start().await;
    let clients: Api<Client> = Api::namespaced(lab.kube.clone(), "lab");
    let mut alice = Client::new("alice", ClientSpec { username: Some("dex:alice".to_owned()) });
    alice.status = Some(ClientStatus { endpoint: Some("dropped".to_owned()), ..ClientStatus::default() });
    let created = clients.create(&PostParams::default(), &alice).await.unwrap();
    assert_eq!(created.status, None);

    let patch = json!({ "status": { "endpoint": "grpc.lab:8082" }, "spec": { "username": "dropped" } });
    let patched = clients.patch_status("alice", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.status.as_ref().unwrap().endpoint.as_deref(), Some("grpc.lab:8082"));
    assert_eq!(patched.spec.username.as_deref(), Some("dex:alice"));
    assert_eq!(patched.metadata.generation, Some(1));

    let mut next = patched;
    next.status.as_mut().unwrap().endpoint = Some("dropped".to_owned());
    next.spec.username = Some("dex:bob".to_owned());
    let replaced = clients.replace("alice", &PostParams::default(), &next).await.unwrap();
    assert_eq!(replaced.status.as_ref().unwrap().endpoint.as_deref(), Some("grpc.lab:8082"));
    assert_eq!((replaced.spec.username.as_deref(), replaced.metadata.generation), (Some("dex:bob"), Some(2)));

    let mut last = replaced;
    last.status.as_mut().unwrap().endpoint = Some("elsewhere".to_owned());
    let written = clients.replace_status("alice", &PostParams::default(), &last).await.unwrap();
    assert_eq!(written.status.unwrap().endpoint.as_deref(), Some("elsewhere"));
    assert_eq!(clients.get_status("alice").await.unwrap().spec.username.as_deref(), Some("dex:bob"));
    lab.stop().await;
}

#[tokio::test]
async fn names_are_generated_and_text_becomes_data() {
    let lab = Lab::start().await;
    let secrets: Api<Secret> = Api::namespaced(lab.kube.clone(), "lab");
    let mut secret = Secret::default();
    secret.metadata.generate_name = Some("token-".to_owned());
    secret.string_data = Some([("token".to_owned(), "abc".to_owned())].into());
    let created = secrets.create(&PostParams::default(), &secret).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert!(name.starts_with("token-") && name.len() == "token-".len() + 5, "{name}");
    assert_eq!(secrets.get(&name).await.unwrap().data.unwrap()["token"].0, b"abc");
    lab.stop().await;
}

#[tokio::test]
async fn a_watch_follows_what_is_selected() {
    let lab = Lab::start().await;
    let exporters: Api<Exporter> = Api::namespaced(lab.kube.clone(), "lab");
    let label = |name: &str, board: &str| {
        let mut exporter = Exporter::new(name, ExporterSpec::default());
        exporter.metadata.labels = Some([("board".to_owned(), board.to_owned())].into());
        exporter
    };
    exporters.create(&PostParams::default(), &label("before", "x")).await.unwrap();
    let version = exporters.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut watch = exporters.watch(&WatchParams::default().labels("board=x"), &version).await.unwrap().boxed();
    let mut whole = exporters.watch(&WatchParams::default(), "0").await.unwrap().boxed();

    exporters.create(&PostParams::default(), &label("a", "x")).await.unwrap();
    exporters.create(&PostParams::default(), &label("b", "y")).await.unwrap();
    let relabel = |board: &str| json!({ "metadata": { "labels": { "board": board } } });
    for (name, board) in [("b", "x"), ("a", "y"), ("a", "z"), ("b", "x2")] {
        exporters.patch(name, &PatchParams::default(), &Patch::Merge(relabel(board))).await.unwrap();
    }
    exporters.delete("before", &DeleteParams::default()).await.unwrap();
    for expected in ["added a", "added b", "deleted a", "deleted b", "deleted before"] {
        assert_eq!(describe(&lab::within(watch.try_next()).await.unwrap().unwrap()), expected);
    }
    for expected in ["added before", "added a", "added b", "modified b", "modified a"] {
        assert_eq!(describe(&lab::within(whole.try_next()).await.unwrap().unwrap()), expected);
    }

    // Watches do not hold up the end of the service.
    let begun = std::time::Instant::now();
    lab.stop().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "the watches ended with the service");
    while let Some(Ok(event)) = lab::within(whole.next()).await {
        assert!(!matches!(event, WatchEvent::Error(_)), "{event:?}");
    }
}

fn describe<K: Resource>(event: &WatchEvent<K>) -> String {
    let name = |object: &K| object.meta().name.clone().unwrap();
    match event {
        WatchEvent::Added(object) => format!("added {}", name(object)),
        WatchEvent::Modified(object) => format!("modified {}", name(object)),
        WatchEvent::Deleted(object) => format!("deleted {}", name(object)),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {} {}", status.code, status.reason),
    }
}

#[tokio::test]
async fn a_watch_from_a_version_that_is_gone_says_so() {
    let lab = Lab::start().await;
    let exporters: Api<Exporter> = Api::namespaced(lab.kube.clone(), "lab");
    let mut watch = exporters.watch(&WatchParams::default(), "999999").await.unwrap().boxed();
    let event = lab::within(watch.try_next()).await.unwrap().unwrap();
    assert_eq!(describe(&event), "error 410 Expired");
    assert!(lab::within(watch.next()).await.is_none());
    lab.stop().await;
}

#[tokio::test]
async fn what_is_there_can_be_discovered() {
    let lab = Lab::start().await;
    assert_eq!(lab.kube.apiserver_version().await.unwrap().minor, "33");
    let groups = lab.kube.list_api_groups().await.unwrap();
    assert_eq!(groups.groups[0].name, "jumpstarter.dev");
    let ours = lab.kube.list_api_group_resources("jumpstarter.dev/v1alpha1").await.unwrap();
    let names: Vec<&str> = ours.resources.iter().map(|resource| resource.name.as_str()).collect();
    for name in ["clients", "clients/status", "exporters", "leases", "exporteraccesspolicies"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(lab.kube.list_core_api_versions().await.unwrap().versions, ["v1"]);
    let core = lab.kube.list_core_api_resources("v1").await.unwrap();
    assert!(core.resources.iter().any(|resource| resource.name == "secrets"));
    lab.stop().await;
}

#[tokio::test]
async fn the_rules_of_leases_hold() {
    let lab = Lab::start().await;
    let leases: Api<Lease> = Api::namespaced(lab.kube.clone(), "lab");
    let post = PostParams::default();
    let create = async |change: &dyn Fn(&mut LeaseSpec)| {
        let mut lease = lease("l");
        change(&mut lease.spec);
        leases.create(&post, &lease).await
    };
    let entries = |count: usize, value: &str| {
        (0..count).map(|number| (format!("k{number}"), value.to_owned())).collect::<std::collections::BTreeMap<_, _>>()
    };
    let refused = create(&|spec| spec.exporter_ref = None).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "one of selector or exporterRef.name is required");
    let refused = create(&|spec| spec.tags = Some(entries(11, "x"))).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "spec.tags: Too many: 11: must have at most 10 items");
    let refused = create(&|spec| spec.context = Some(entries(9, "x"))).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "spec.context: Too many");
    let refused = create(&|spec| spec.context = Some(entries(1, &"x".repeat(65)))).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "context keys max 32 chars, values max 64 chars");

    create(&|_| ()).await.unwrap();
    let patch = async |patch: serde_json::Value| leases.patch("l", &PatchParams::default(), &Patch::Merge(patch)).await;
    // What was absent may be added once.
    patch(json!({ "spec": { "tags": { "a": "1" }, "context": { "b": "2" } } })).await.unwrap();
    let refused = patch(json!({ "spec": { "tags": { "a": "2" } } })).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "tags are immutable after creation");
    let refused = patch(json!({ "spec": { "tags": null } })).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "tags are immutable after creation");
    let refused = patch(json!({ "spec": { "context": { "c": "3" } } })).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "context is immutable after creation");
    let refused = patch(json!({ "spec": { "exporterRef": null } })).await.unwrap_err();
    assert_refused(&refused, 422, "Invalid", "one of selector or exporterRef.name is required");
    let released = patch(json!({ "spec": { "release": true, "clientRef": { "name": "bob" } } })).await.unwrap();
    assert_eq!((released.spec.release, released.metadata.generation), (Some(true), Some(3)));
    lab.stop().await;
}

#[tokio::test]
async fn patches_at_the_same_time_all_arrive() {
    let lab = Lab::start().await;
    let exporters: Api<Exporter> = Api::namespaced(lab.kube.clone(), "lab");
    exporters.create(&PostParams::default(), &Exporter::new("a", ExporterSpec::default())).await.unwrap();
    let patches = (0..6).map(|number| {
        let exporters = exporters.clone();
        async move {
            let patch = json!({ "metadata": { "labels": { format!("l{number}"): "x" } } });
            exporters.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    });
    futures::future::join_all(patches).await;
    assert_eq!(exporters.get("a").await.unwrap().metadata.labels.unwrap().len(), 6);
    lab.stop().await;
}
