//! A proxy in front of an API server that delays, refuses, cuts and stalls.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use kube::{Client, Config};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::ApiServer;

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Then {
    /// It is answered with this status, as the API server would, and goes no further.
    Status {
        /// HTTP status.
        code: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// It goes on after a while.
    Delay(Duration),
    /// It is never answered.
    Hang,
    /// It is made, and its answer is lost.
    LoseAnswer,
}

/// Whether a rule is about a request.
pub type Matches = Box<dyn Fn(&Method, &Uri) -> bool + Send + Sync>;

/// What happens to which requests.
pub struct Rule {
    /// Which.
    pub matches: Matches,
    /// What.
    pub then: Then,
    /// How often; always when absent.
    pub times: Option<usize>,
}

impl Rule {
    /// For every request.
    #[must_use]
    pub fn every(then: Then) -> Self {
        Self { matches: Box::new(|_, _| true), then, times: None }
    }

    /// For requests whose path (with its query) contains `part`.
    #[must_use]
    pub fn path(part: &'static str, then: Then) -> Self {
        Self { matches: Box::new(move |_, uri| uri.to_string().contains(part)), then, times: None }
    }

    /// The same for so many requests.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same for requests that change something.
    #[must_use]
    pub fn writes(self) -> Self {
        let matches = self.matches;
        Self { matches: Box::new(move |method, uri| *method != Method::GET && matches(method, uri)), ..self }
    }
}

/// A request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: String,
}

impl Seen {
    /// Whether it asked for a watch.
    #[must_use]
    pub fn is_watch(&self) -> bool {
        self.uri.contains("watch=")
    }
}

#[derive(Default)]
struct Shared {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

struct Inner {
    upstream: Client,
    shared: Mutex<Shared>,
    /// While true, bodies of watches stand still.
    stalled: watch::Sender<bool>,
    /// Grows when every open answer is to be cut.
    cuts: watch::Sender<u64>,
}

/// A plain HTTP address that leads to an API server. Dropping it closes it.
pub struct FaultProxy {
    inner: Arc<Inner>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy that does nothing but pass requests on, with the credentials that they carry.
    pub async fn start(server: &ApiServer) -> Self {
        let inner = Arc::new(Inner {
            upstream: server.client(None),
            shared: Mutex::default(),
            stalled: watch::channel(false).0,
            cuts: watch::channel(0).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let address = listener.local_addr().expect("a bound socket");
        let routes = axum::Router::new().fallback(pass).with_state(Arc::clone(&inner));
        #[expect(clippy::disallowed_methods, reason = "ended when the proxy is dropped")]
        let task = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("serve the proxy");
        });
        Self { inner, address, task }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client with this token needs to know.
    #[must_use]
    pub fn config(&self, token: &str) -> Config {
        let mut config = Config::new(self.url().parse().expect("a plain address"));
        config.auth_info.token = Some(token.to_owned().into());
        config
    }

    /// A client with this token.
    #[must_use]
    pub fn client(&self, token: &str) -> Client {
        Client::try_from(self.config(token)).expect("make a client")
    }

    /// Writes a configuration file that leads through the proxy.
    pub fn write_kubeconfig(&self, server: &ApiServer, path: &Path, token: &str) {
        server.write_kubeconfig(path, &self.url(), Some(token));
    }

    /// Adds a rule; the first that matches holds.
    pub fn add(&self, rule: Rule) {
        self.shared().rules.push(rule);
    }

    /// Forgets every rule, and lets watches go on.
    pub fn clear(&self) {
        self.shared().rules.clear();
        self.inner.stalled.send_replace(false);
    }

    /// Lets the bodies of watches stand still, open ones and new ones, without an error.
    pub fn stall_watches(&self) {
        self.inner.stalled.send_replace(true);
    }

    /// Cuts every answer that is on its way.
    pub fn cut(&self) {
        self.inner.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Requests so far, in the order in which they came.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared().seen.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_seen(&self) {
        self.shared().seen.clear();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.shared()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request, and says what is to happen to it.
    fn judge(&self, method: &Method, uri: &Uri) -> Option<Then> {
        let mut shared = self.shared();
        shared.seen.push(Seen { method: method.clone(), uri: uri.to_string() });
        let rule = shared.rules.iter_mut().find(|rule| rule.times != Some(0) && (rule.matches)(method, uri))?;
        rule.times = rule.times.map(|times| times - 1);
        Some(rule.then.clone())
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let then = inner.judge(request.method(), request.uri());
    match then {
        Some(Then::Status { code, retry_after }) => return refusal(code, retry_after),
        Some(Then::Hang) => return std::future::pending().await,
        Some(Then::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Then::LoseAnswer) | None => {}
    }
    let watch = request.uri().query().is_some_and(|query| query.contains("watch="));
    let answer = forward(&inner.upstream, request).await;
    if matches!(then, Some(Then::LoseAnswer)) {
        return std::future::pending().await;
    }
    let (parts, body) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let mut cuts = inner.cuts.subscribe();
    let stalled = inner.stalled.subscribe();
    let was_cut = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&was_cut);
    let cut = async move {
        let _ = cuts.changed().await;
        noted.store(true, Ordering::Relaxed);
    };
    let data = body.into_data_stream().then(move |item| {
        let mut stalled = stalled.clone();
        async move {
            if watch {
                let _ = stalled.wait_for(|stalled| !stalled).await;
            }
            item.map_err(std::io::Error::other)
        }
    });
    // What ends by itself ends well; what was cut ends with an error, which resets the connection.
    let end = futures::stream::poll_fn(move |_| {
        let was_cut = was_cut.swap(false, Ordering::Relaxed);
        Poll::Ready(was_cut.then(|| Err(std::io::Error::other("cut by the proxy"))))
    });
    Response::from_parts(parts, Body::from_stream(data.take_until(cut).chain(end)))
}

async fn forward(upstream: &Client, request: Request) -> Result<http::Response<kube::client::Body>, kube::Error> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.version = http::Version::default();
    let body: Bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let mut response = upstream.send(request).await?;
    response.headers_mut().remove(header::CONNECTION);
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    *response.version_mut() = http::Version::HTTP_11;
    Ok(response)
}

fn refusal(code: u16, retry_after: Option<u32>) -> Response {
    let status = StatusCode::from_u16(code).expect("a status");
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        403 => "Forbidden",
        401 => "Unauthorized",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("refused by the proxy with {code}"), "reason": reason, "code": code,
    });
    let mut response = (status, axum::Json(body)).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
