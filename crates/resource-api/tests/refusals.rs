//! Bad input: the right code, a clear message, nothing written.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

mod lab;

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use http::{Method, StatusCode};
use jumpstarter_resource_api::{ServeError, router, serve_unix};
use jumpstarter_store::{Kind, ListOptions, Store};
use lab::{Lab, within};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const GROUP: &str = "/apis/jumpstarter.dev/v1alpha1/namespaces/lab";

async fn count(lab: &Lab) -> usize {
    let mut count = 0;
    for kind in Kind::ALL {
        count += lab.store.list(kind, "", ListOptions::default()).await.unwrap().items.len();
    }
    count
}

#[tokio::test]
async fn bad_manifests_are_refused_with_the_field_at_fault() {
    let lab = Lab::start().await;
    let long = "a".repeat(64);
    let cases = [
        (
            "clients",
            json!({ "metadata": { "name": "a" }, "spec": { "usrname": "x" } }),
            400,
            "unknown field \"spec.usrname\"",
        ),
        ("clients", json!({ "metadata": { "name": "a", "label": {} } }), 400, "unknown field \"metadata.label\""),
        ("clients", json!({ "metadata": { "name": "a" }, "extra": 1 }), 400, "unknown field \"extra\""),
        (
            "exporteraccesspolicies",
            json!({ "metadata": { "name": "a" }, "spec": { "policies": [{}, { "prio": 1 }] } }),
            400,
            "spec.policies[1].prio",
        ),
        ("clients", json!({ "metadata": { "name": "a" }, "spec": { "username": 7 } }), 422, "spec.username"),
        ("clients", json!({ "metadata": { "name": "A_b" } }), 422, "metadata.name"),
        ("clients", json!({ "metadata": {} }), 422, "name or generateName is required"),
        ("clients", json!({ "metadata": { "name": "a", "labels": { "a b": "x" } } }), 422, "metadata.labels"),
        ("clients", json!({ "metadata": { "name": "a", "labels": { "a": long } } }), 422, "metadata.labels"),
        ("clients", json!({ "metadata": { "name": "a", "labels": { "a": 1 } } }), 422, "metadata.labels[a]"),
        ("clients", json!({ "metadata": { "name": "a", "finalizers": ["x/y"] } }), 422, "finalizers are not supported"),
        (
            "clients",
            json!({ "metadata": { "name": "a", "namespace": "other" } }),
            400,
            "does not match the namespace on the URL",
        ),
        ("clients", json!({ "kind": "Exporter", "metadata": { "name": "a" } }), 400, "this path is about Client"),
        ("clients", json!({ "metadata": { "name": "a", "resourceVersion": "7" } }), 400, "must not be set"),
        ("clients", json!([1]), 400, "not an object"),
        (
            "exporters",
            json!({ "metadata": { "name": "a" }, "status": { "exporterStatus": "Asleep" } }),
            422,
            "status.exporterStatus",
        ),
        (
            "leases",
            json!({ "metadata": { "name": "a" }, "spec": { "exporterRef": { "name": "e" } } }),
            422,
            "spec.clientRef",
        ),
        (
            "leases",
            json!({ "metadata": { "name": "a" }, "spec": { "clientRef": { "name": "c" }, "exporterRef": { "name": "e" }, "duration": "1 day" } }),
            422,
            "spec.duration",
        ),
        (
            "leases",
            json!({ "metadata": { "name": "a" }, "spec": { "clientRef": { "name": "c" }, "exporterRef": { "name": "e" }, "beginTime": "noon" } }),
            422,
            "spec.beginTime",
        ),
        (
            "leases",
            json!({ "metadata": { "name": "a" }, "spec": { "clientRef": { "name": "c" }, "selector": { "matchExpressions": [{ "key": "a", "operator": "Near" }] } } }),
            422,
            "spec.selector",
        ),
        (
            "exporteraccesspolicies",
            json!({ "metadata": { "name": "a" }, "spec": { "policies": [{ "maximumDuration": "forever" }] } }),
            422,
            "spec.policies[0].maximumDuration",
        ),
        (
            "exporteraccesspolicies",
            json!({ "metadata": { "name": "a" }, "spec": { "policies": [{ "from": [{ "clientSelector": { "matchLabels": { "!": "x" } } }] }] } }),
            422,
            "spec.policies[0].from[0].clientSelector",
        ),
    ];
    for (plural, manifest, code, message) in cases {
        let (status, body) = lab.json(Method::POST, &format!("{GROUP}/{plural}"), JSON, &manifest.to_string()).await;
        assert_eq!(status.as_u16(), code, "{manifest}: {body}");
        assert_eq!(
            (&body["kind"], &body["status"], &body["code"]),
            (&json!("Status"), &json!("Failure"), &json!(code))
        );
        assert!(body["message"].as_str().unwrap().contains(message), "{manifest}: {body}");
    }
    let secret = json!({ "metadata": { "name": "s" }, "data": { "token": "not base64!" } }).to_string();
    let (status, body) = lab.json(Method::POST, "/api/v1/namespaces/lab/secrets", JSON, &secret).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert_eq!(count(&lab).await, 0);
    lab.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let lab = Lab::start().await;
    let client = json!({ "metadata": { "name": "a" } }).to_string();
    let (status, _) = lab.json(Method::POST, &format!("{GROUP}/clients"), JSON, &client).await;
    assert_eq!(status, StatusCode::CREATED);
    let elsewhere = GROUP.replace("/lab", "/other");
    let one = format!("{GROUP}/clients/a");
    let many = format!("{GROUP}/clients");
    let cases = [
        (Method::GET, format!("{GROUP}/widgets"), JSON, "", 404, "could not find"),
        (Method::GET, "/apis/apps/v1/deployments".to_owned(), JSON, "", 404, "could not find"),
        (Method::GET, "/".to_owned(), JSON, "", 404, "could not find"),
        (Method::GET, format!("{GROUP}/clients/b"), JSON, "", 404, "clients.jumpstarter.dev \"b\" not found"),
        (Method::POST, format!("{elsewhere}/clients"), JSON, &client, 404, "serves the namespace \"lab\""),
        (Method::POST, one.clone(), JSON, &client, 405, "does not allow this method"),
        (Method::DELETE, many.clone(), JSON, "", 405, "does not allow this method"),
        (Method::GET, format!("{many}?limit=-1"), JSON, "", 400, "limit"),
        (Method::GET, format!("{many}?labelSelector=a%20in%20("), JSON, "", 400, "labelSelector"),
        (Method::GET, format!("{many}?fieldSelector=spec.username%3Dx"), JSON, "", 400, "only metadata.name"),
        (Method::GET, format!("{many}?continue=nonsense"), JSON, "", 400, "continue token"),
        (Method::GET, format!("{many}?resourceVersion=x"), JSON, "", 400, "resourceVersion"),
        (Method::GET, format!("{many}?watch=perhaps"), JSON, "", 400, "watch"),
        (Method::POST, format!("{many}?dryRun=All"), JSON, &client, 400, "dryRun is not supported"),
        (Method::POST, many.clone(), JSON, "{", 400, "unrecognized"),
        (Method::POST, many.clone(), "application/vnd.kubernetes.protobuf", "k8s", 415, "use application/json"),
        (Method::PUT, one.clone(), JSON, &client, 422, "metadata.resourceVersion"),
        (Method::PUT, format!("{GROUP}/clients/b"), JSON, &client, 400, "does not match the name on the URL"),
        (Method::PATCH, one.clone(), "application/json-patch+json", "[]", 415, "not supported"),
        (Method::PATCH, one.clone(), MERGE, "[]", 400, "a patch is an object"),
        (Method::PATCH, one.clone(), MERGE, r#"{"spec":{"nope":1}}"#, 400, "unknown field \"spec.nope\""),
        (Method::PATCH, one.clone(), MERGE, r#"{"metadata":{"name":"b"}}"#, 400, "does not match"),
        (
            Method::PATCH,
            one.clone(),
            MERGE,
            r#"{"metadata":{"resourceVersion":"99"},"spec":{"username":"x"}}"#,
            409,
            "modified",
        ),
        (Method::PATCH, one.clone(), "application/apply-patch+yaml", "spec: {}", 400, "fieldManager"),
        (Method::PATCH, format!("{GROUP}/clients/b/status"), MERGE, "{}", 404, "not found"),
        (Method::DELETE, one.clone(), JSON, r#"{"propagationPolicy":"Orphan"}"#, 400, "orphaned"),
        (Method::DELETE, one.clone(), JSON, r#"{"preconditions":{"resourceVersion":"99"}}"#, 409, "modified"),
        (Method::GET, "/backup".to_owned(), JSON, "", 405, "does not allow this method"),
        (Method::POST, "/backup".to_owned(), JSON, r#"{"path":"relative"}"#, 400, "relative"),
        (Method::POST, "/backup".to_owned(), JSON, "{}", 400, "path"),
    ];
    for (method, path, type_, request, code, message) in cases {
        let (status, body) = lab.json(method.clone(), &path, type_, request).await;
        assert_eq!(status.as_u16(), code, "{method} {path}: {body}");
        assert!(body["message"].as_str().unwrap().contains(message), "{method} {path}: {body}");
    }
    let large = format!("{{\"spec\":\"{}\"}}", "x".repeat(4 << 20));
    let (status, body) = lab.json(Method::POST, &many, JSON, &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert_eq!(count(&lab).await, 1);
    lab.stop().await;
}

#[tokio::test]
async fn the_store_can_be_backed_up_exported_and_imported() {
    let lab = Lab::start().await;
    let text = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata: { name: alice }\n";
    let (status, body) = lab.json(Method::POST, "/import", "application/yaml", text).await;
    assert_eq!((status, &body["created"]["clients"]), (StatusCode::OK, &json!(1)));
    let bad = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata: { name: bob }\nspec: { nope: 1 }\n";
    let (status, body) = lab.json(Method::POST, "/import", "application/yaml", &format!("{text}---\n{bad}")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["details"]["causes"][0]["message"].as_str().unwrap().contains("document 2 (Client bob)"), "{body}");

    let (status, exported) = lab.request(Method::POST, "/export", JSON, "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(exported.contains("name: alice"), "{exported}");

    let path = lab.dir().join("backup.sqlite");
    let request = json!({ "path": path }).to_string();
    let (status, _) = lab.json(Method::POST, "/backup", JSON, &request).await;
    assert_eq!(status, StatusCode::OK);
    assert!(path.exists());
    let (status, body) = lab.json(Method::POST, "/backup", JSON, &request).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let (status, body) = lab.json(Method::POST, "/check", JSON, "").await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "faults": [] })));
    lab.stop().await;
}

#[tokio::test]
async fn the_socket_is_its_owners_and_nobody_elses() {
    let lab = Lab::start().await;
    assert_eq!(fs::metadata(&lab.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let again = router(Arc::new(lab.store.clone()), "lab", None);
    let refused = within(serve_unix(&lab.socket, again.clone(), CancellationToken::new())).await;
    assert!(matches!(refused, Err(ServeError::InUse(_))), "{refused:?}");

    // One that a killed process left is replaced.
    let stale = lab.dir().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let cancel = CancellationToken::new();
    let served = {
        let (stale, router, cancel) = (stale.clone(), again.clone(), cancel.clone());
        TaskTracker::new().spawn(async move { serve_unix(&stale, router, cancel).await })
    };
    lab::connectable(&stale).await;
    cancel.cancel();
    within(served).await.unwrap().unwrap();
    let left: Vec<_> = fs::read_dir(lab.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["data"]);

    // A file is not.
    let file = lab.dir().join("file");
    fs::write(&file, "precious").unwrap();
    let refused = within(serve_unix(&file, again, CancellationToken::new())).await;
    assert!(matches!(refused, Err(ServeError::NotASocket(_))), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    lab.stop().await;
}
