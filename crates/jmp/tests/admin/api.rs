//! A small Kubernetes-shaped API: objects in a map, credentials handed out at once, `Status` errors.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// The API; its thread ends with the process of the test.
pub(crate) struct Api {
    data_dir: tempfile::TempDir,
    objects: Objects,
    address: std::net::SocketAddr,
}

impl Api {
    pub(crate) fn start() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(data_dir.path().join("admin.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let cluster = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        cluster.set_nonblocking(true).unwrap();
        let address = cluster.local_addr().unwrap();
        let objects = Objects::default();
        let served = objects.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, cluster, served));
        });
        let api = Self { data_dir, objects, address };
        api.put(
            "/api/v1/namespaces/default/configmaps/jumpstarter-service-ca-cert",
            json!({ "metadata": { "name": "jumpstarter-service-ca-cert" }, "data": { "ca.crt": "-----BEGIN CERTIFICATE-----\n" } }),
        );
        api
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// A kubeconfig with this API as the context `lab`, and as the current one a context that leads nowhere.
    pub(crate) fn kubeconfig(&self) -> Value {
        let server = |url: String| json!({ "server": url });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
            "clusters": [
                { "name": "lab", "cluster": server(format!("http://{}", self.address)) },
                { "name": "nowhere", "cluster": server("http://127.0.0.1:1".to_owned()) },
            ],
            "users": [{ "name": "me", "user": {} }],
            "contexts": [
                { "name": "lab", "context": { "cluster": "lab", "user": "me" } },
                { "name": "nowhere", "context": { "cluster": "nowhere", "user": "me" } },
            ],
        })
    }

    /// Stores an object as it is.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// Stores an object of one of our kinds.
    pub(crate) fn put_kind(&self, plural: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        fill_in(&mut object, "default");
        self.put(&format!("/apis/jumpstarter.dev/v1alpha1/namespaces/default/{plural}/{name}"), object);
    }

    /// An object of one of our kinds.
    pub(crate) fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let path = format!("/apis/jumpstarter.dev/v1alpha1/namespaces/default/{plural}/{name}");
        self.objects.lock().unwrap().get(&path).cloned()
    }
}

/// Serves the socket, and the same objects at a TCP port as a cluster would.
async fn serve(listener: std::os::unix::net::UnixListener, cluster: std::net::TcpListener, objects: Objects) {
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let cluster = tokio::net::TcpListener::from_std(cluster).unwrap();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Both `accept`s are cancel safe by their docs.
        tokio::select! {
            Ok((stream, _)) = listener.accept() => connections.spawn(connection(stream, objects.clone())),
            Ok((stream, _)) = cluster.accept() => connections.spawn(connection(stream, objects.clone())),
            else => break,
        };
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, objects: Objects) {
    let service = hyper::service::service_fn(move |request| answer(request, objects.clone()));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, objects: Objects) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let (code, answer) = decide(&method, &path, body, &mut objects.lock().unwrap());
    Ok(Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(answer.to_string())))
        .unwrap())
}

fn decide(method: &Method, path: &str, mut body: Value, objects: &mut BTreeMap<String, Value>) -> (StatusCode, Value) {
    let namespace = path.split('/').skip_while(|part| *part != "namespaces").nth(1).unwrap_or_default().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    match *method {
        Method::GET
            if ["clients", "exporters", "leases", "exporteraccesspolicies", "leasequotas", "maintenancewindows"]
                .contains(&&*last) =>
        {
            let prefix = format!("{path}/");
            let items = objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object.clone());
            (
                StatusCode::OK,
                json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items.collect::<Vec<_>>() }),
            )
        }
        Method::GET => match objects.get(path) {
            Some(object) => (StatusCode::OK, object.clone()),
            None => refuse(StatusCode::NOT_FOUND, "NotFound", &format!("{path} not found")),
        },
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let key = format!("{path}/{name}");
            if objects.contains_key(&key) {
                return refuse(StatusCode::CONFLICT, "AlreadyExists", &format!("{last} \"{name}\" already exists"));
            }
            fill_in(&mut body, &namespace);
            if let Some(kind) = last.strip_suffix('s').filter(|kind| ["client", "exporter"].contains(kind)) {
                let secret = format!("{name}-{kind}");
                body["status"] = json!({ "credential": { "name": secret }, "endpoint": "lab.example.com:8082" });
                // base64 of `token-1`.
                objects.insert(format!("/api/v1/namespaces/{namespace}/secrets/{secret}"), token("dG9rZW4tMQ=="));
            }
            objects.insert(key, body.clone());
            (StatusCode::CREATED, body)
        }
        Method::PUT => {
            objects.insert(path.to_owned(), body.clone());
            (StatusCode::OK, body)
        }
        Method::DELETE => match objects.remove(path) {
            Some(object) => {
                if path.contains("/secrets/") {
                    // As the controller would: base64 of `token-2`.
                    objects.insert(path.to_owned(), token("dG9rZW4tMg=="));
                }
                (StatusCode::OK, object)
            }
            None => refuse(StatusCode::NOT_FOUND, "NotFound", &format!("{path} not found")),
        },
        _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", method.as_str()),
    }
}

fn token(base64: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": { "token": base64 } })
}

fn fill_in(object: &mut Value, namespace: &str) {
    let metadata = &mut object["metadata"];
    metadata["namespace"] = namespace.into();
    metadata["uid"] = "00000000-0000-4000-8000-000000000001".into();
    metadata["generation"] = 1.into();
    metadata["resourceVersion"] = "7".into();
    metadata["creationTimestamp"] = "2026-01-02T03:04:05Z".into();
}

fn refuse(code: StatusCode, reason: &str, message: &str) -> (StatusCode, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16(),
    });
    (code, status)
}
