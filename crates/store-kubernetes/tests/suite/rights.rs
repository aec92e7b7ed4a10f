//! Who we are and what we may do.

use std::collections::BTreeMap;

use jumpstarter_kube_testkit::ApiServer;
use jumpstarter_store::{EventKind, EventRecorder, Kind, ListOptions, ObjectEvent, Store, StoreError, Write};
use jumpstarter_store_kubernetes::{
    KubernetesEvents, KubernetesMetrics, KubernetesOptions, KubernetesStore, Permission, client,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{create, describe, direct, edit, exporter, mentions, next_error, object, one, with_endpoint, within};

/// A store that may do exactly this in a namespace of its own.
pub(crate) async fn store_with(permissions: &[Permission]) -> (&'static ApiServer, KubernetesStore, String) {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("rights").await;
    let token = server.service_account(&namespace, "controller").await;
    let mut rules: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for Permission { group, resource, subresource, verb } in permissions {
        let path = if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
        rules.entry((group, path)).or_default().push(verb);
    }
    let rules: Vec<_> = rules
        .iter()
        .map(|((group, path), verbs)| json!({ "apiGroups": [group], "resources": [path], "verbs": verbs }))
        .collect();
    let manifests = [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": "controller", "namespace": namespace }, "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "controller", "namespace": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "controller" },
            "subjects": [{ "kind": "ServiceAccount", "name": "controller", "namespace": namespace }],
        }),
    ];
    let input = manifests.map(|manifest| manifest.to_string()).join("\n---\n");
    server.kubectl_with(&["apply", "-f", "-"], &input).unwrap();
    let client = client(server.config(Some(&token))).unwrap();
    // The authorizer learns of the role a moment later.
    let options = KubernetesOptions::new(namespace.as_str());
    let store = KubernetesStore::new(client, options, KubernetesMetrics::default());
    within(async {
        loop {
            let allowed = |verb| format!("--as=system:serviceaccount:{namespace}:controller {verb}");
            let first = permissions.last().expect("a permission");
            let resource = if first.group.is_empty() {
                first.resource.to_owned()
            } else {
                format!("{}.{}", first.resource, first.group)
            };
            let args = allowed(first.verb);
            let mut args: Vec<&str> = args.split(' ').collect();
            let subresource = format!("--subresource={}", first.subresource);
            args.splice(0..0, ["auth", "can-i", "-n", &namespace]);
            args.push(&resource);
            if !first.subresource.is_empty() {
                args.push(&subresource);
            }
            if server.kubectl_with(&args, "").is_ok() {
                break;
            }
        }
    })
    .await;
    (server, store, namespace)
}

fn everything() -> Vec<Permission> {
    let optional = Permission::optional().into_iter().map(|(permission, _)| permission);
    Permission::required().into_iter().chain(optional).collect()
}

/// Exactly what is asked for is enough for everything that the service does through the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permissions_asked_for_are_enough() {
    let (server, store, namespace) = store_with(&everything()).await;
    within(store.preflight()).await.unwrap();
    let admin = direct(server, &namespace);
    let exporter = create(&admin, exporter(&namespace, "e")).await;
    let client = object(json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Client", "spec": {},
        "metadata": { "name": "c", "namespace": namespace },
    }));
    let client = create(&admin, client).await;
    for kind in Kind::ALL {
        let list = within(store.list(kind, &namespace, ListOptions::default())).await.unwrap();
        drop(within(store.watch(&[kind], list.resource_version)).await.unwrap());
    }
    let claimed = one(&store, Write::Replace(with_endpoint(&exporter, "x"))).await.unwrap();
    one(&store, Write::Update(edit(&claimed, |value| value["metadata"]["labels"] = json!({ "a": "b" }))))
        .await
        .unwrap();
    one(&store, Write::UpdateStatus(with_endpoint(&client, "x").unconditional())).await.unwrap();
    let owner = json!([{
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter", "name": "e", "uid": exporter.uid(),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let secret = object(json!({
        "apiVersion": "v1", "kind": "Secret", "data": { "token": "YQ==" },
        "metadata": { "name": "s", "namespace": namespace, "ownerReferences": owner },
    }));
    let secret = create(&store, secret).await;
    one(&store, Write::Update(edit(&secret, |value| value["data"]["token"] = json!("Yg==")))).await.unwrap();
    let lease = object(json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease", "status": { "ended": false },
        "metadata": { "name": "l", "namespace": namespace },
        "spec": { "clientRef": { "name": "c" }, "exporterRef": { "name": "e" } },
    }));
    let lease = create(&store, lease).await;
    let held = edit(&lease, |value| {
        value["metadata"]["ownerReferences"] = owner;
        value["status"]["exporterRef"] = json!({ "name": "e" });
    });
    one(&store, Write::Replace(held)).await.unwrap();
    one(&store, Write::Delete(lease.key().clone(), None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_verb_is_named_by_the_call_that_needs_it() {
    let without = |verb, path: &str| {
        let keep = |permission: &Permission| {
            permission.verb != verb || format!("{}/{}", permission.resource, permission.subresource) != path
        };
        everything().into_iter().filter(keep).collect::<Vec<_>>()
    };
    let (server, store, namespace) = store_with(&without("update", "exporters/status")).await;
    let stored = create(&direct(server, &namespace), exporter(&namespace, "e")).await;
    let refused = one(&store, Write::UpdateStatus(with_endpoint(&stored, "x"))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let place = format!("namespace `{namespace}`");
    mentions(&refused, &["update exporters.jumpstarter.dev/status", &place, "Role"]);

    // A watch that is not allowed does not look like one that has nothing to tell.
    let (_, store, namespace) = store_with(&without("watch", "exporters/")).await;
    let list = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.unwrap();
    let mut stream = within(store.watch(&[Kind::Exporter], list.resource_version)).await.unwrap();
    mentions(&next_error(&mut stream).await, &["watch exporters.jumpstarter.dev", "Role"]);
    // And once it is granted, the next reader is served.
    let role = json!([{ "op": "add", "path": "/rules/-", "value":
        { "apiGroups": ["jumpstarter.dev"], "resources": ["exporters"], "verbs": ["watch"] } }]);
    let _ = server.kubectl(&["patch", "role", "controller", "-n", &namespace, "--type=json", "-p", &role.to_string()]);
    let admin = direct(server, &namespace);
    create(&admin, exporter(&namespace, "late")).await;
    within(async {
        loop {
            let mut stream = store.watch(&[Kind::Exporter], list.resource_version).await.unwrap();
            if let Some(Ok(event)) = futures::StreamExt::next(&mut stream).await {
                break assert_eq!(describe(&event), "+late");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_accepted_is_named() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("token").await;
    let client = client(server.config(Some("expired"))).unwrap();
    let store = KubernetesStore::new(client, KubernetesOptions::new(namespace.as_str()), KubernetesMetrics::default());
    let refused = within(store.list(Kind::Exporter, &namespace, ListOptions::default())).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    mentions(&refused, &["list exporters.jumpstarter.dev", "credentials", "expired"]);
}

/// Events are written with the permissions of the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_need_no_more_than_is_asked_for() {
    let (server, _, namespace) = store_with(&everything()).await;
    let token = server.service_account(&namespace, "controller").await;
    let stored = create(&direct(server, &namespace), exporter(&namespace, "e")).await;
    let client = client(server.config(Some(&token))).unwrap();
    let (recorder, writer) = KubernetesEvents::new(client, namespace.as_str(), "p", KubernetesMetrics::default());
    for _ in 0..2 {
        recorder.record(ObjectEvent::new(&stored, EventKind::Normal, "c", "Twice", "twice"));
    }
    drop(recorder);
    within(writer.run(CancellationToken::new())).await;
    let counts = ["get", "events", "-n", &namespace, "-o", "jsonpath={.items[*].count}"];
    assert_eq!(server.kubectl(&counts), "2");
}
