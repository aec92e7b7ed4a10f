//! Requests with a deadline, and with patience for an API server that asks for it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use jumpstarter_store::Kind;
use kube::{
    Client,
    client::{AuthError, Body},
    core::{Request, Status},
};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    backoff::{Backoff, jittered},
    error::{Call, Failure, chain},
    metrics::KubernetesMetrics,
};

/// Longest that an answer's `Retry-After` is obeyed in one go.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Attempts of a read that gets no answer.
const READ_ATTEMPTS: u32 = 3;

/// The API server, as one namespace of it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) request_timeout: Duration,
    pub(crate) metrics: KubernetesMetrics,
}

impl Api {
    /// Builder of requests about a kind in our namespace.
    pub(crate) fn path(&self, kind: Kind) -> Request {
        let root = if kind.is_core() {
            format!("/api/{}", kind.api_version())
        } else {
            format!("/apis/{}", kind.api_version())
        };
        Request::new(format!("{root}/namespaces/{}/{}", self.namespace, kind.plural()))
    }

    /// A call about a kind in our namespace.
    pub(crate) fn call(&self, verb: &'static str, kind: Kind) -> Call {
        Call::of(verb, kind, &self.namespace)
    }

    /// The answer's JSON. Tries again when the server asks to slow down, and reads also when there was no answer.
    pub(crate) async fn json(&self, call: &Call, request: http::Request<Vec<u8>>) -> Result<Value, Failure> {
        self.json_by(call, request, Instant::now() + self.request_timeout).await
    }

    /// The same with another deadline.
    pub(crate) async fn json_by(
        &self,
        call: &Call,
        request: http::Request<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut attempt = 1;
        loop {
            // A read that hangs is given up early enough to try once more.
            let remaining = deadline.saturating_duration_since(Instant::now());
            let limit = if call.is_read() && attempt < READ_ATTEMPTS { remaining / 2 } else { remaining };
            let failure = match self.attempt(call, request.clone(), limit).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let pause = match &failure {
                Failure::Refused { status, retry_after } if status.code == 429 => {
                    let asked = retry_after.unwrap_or_default().min(LONGEST_PAUSE);
                    // Not all at the same moment, and never before the time that was asked for.
                    asked + backoff.pause()
                }
                Failure::Refused { status, .. } if status.code >= 500 && call.is_read() => backoff.pause(),
                Failure::Lost(_) if call.is_read() => backoff.pause(),
                _ => return Err(failure),
            };
            if (failure.code() != 429 && attempt >= READ_ATTEMPTS) || Instant::now() + pause >= deadline {
                return Err(failure);
            }
            attempt += 1;
            tracing::debug!(%call, outcome = failure.outcome(), ?pause, "request again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call, request: http::Request<Vec<u8>>, limit: Duration) -> Result<Value, Failure> {
        let started = Instant::now();
        let whole = async {
            let response = self.accepted(request).await?;
            let body = collect(response.into_body()).await?;
            serde_json::from_slice(&body).map_err(|error| Failure::Garbled(error.to_string()))
        };
        let outcome = timeout_at(started + limit, whole).await.unwrap_or_else(|_| Err(silence(limit)));
        self.count(call, &outcome, started);
        outcome
    }

    /// An answer whose body is read by the caller, without a deadline for that.
    pub(crate) async fn stream(
        &self,
        call: &Call,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Body>, Failure> {
        let started = Instant::now();
        let limit = self.request_timeout;
        let outcome = timeout_at(started + limit, self.accepted(request)).await.unwrap_or_else(|_| Err(silence(limit)));
        self.count(call, &outcome, started);
        outcome
    }

    async fn accepted(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Body>, Failure> {
        let response = self.client.send(request.map(Body::from)).await.map_err(|error| unsent(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let header = response.headers().get(http::header::RETRY_AFTER);
        let asked = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = collect(response.into_body()).await?;
        let status = serde_json::from_slice::<Status>(&body).ok().filter(|status| status.code != 0);
        let status = status.unwrap_or_else(|| {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Status::failure(text.trim(), "").with_code(code)
        });
        let hinted = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
        let retry_after = asked.or(hinted.filter(|seconds| *seconds > 0)).map(Duration::from_secs);
        Err(Failure::Refused { status: status.boxed(), retry_after })
    }

    fn count<T>(&self, call: &Call, outcome: &Result<T, Failure>, started: Instant) {
        let outcome = outcome.as_ref().map_or_else(Failure::outcome, |_| "ok");
        self.metrics.request(call.verb, call.resource, outcome, started.elapsed());
    }
}

/// A pause before a reconnect that a refusal may have prolonged.
pub(crate) fn pause_after(failure: &Failure, backoff: &mut Backoff) -> Duration {
    match failure {
        Failure::Refused { retry_after: Some(asked), .. } => (*asked).min(LONGEST_PAUSE) + backoff.pause(),
        _ => jittered(backoff.pause()),
    }
}

async fn collect(body: Body) -> Result<Bytes, Failure> {
    let collected = body.collect().await.map_err(|error| Failure::Lost(chain(&error)))?;
    Ok(collected.to_bytes())
}

fn silence(limit: Duration) -> Failure {
    Failure::Lost(format!("no answer within {:.1} s", limit.as_secs_f64()))
}

fn unsent(error: &kube::Error) -> Failure {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<AuthError>() {
            return Failure::Credentials(chain(error));
        }
        next = error.source();
    }
    Failure::Lost(chain(error))
}
