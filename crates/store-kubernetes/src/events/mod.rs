//! Events about objects, as core `Event`s that `kubectl describe` shows.

mod correlate;

use std::{sync::Arc, time::Duration};

use jumpstarter_model::Timestamp;
use jumpstarter_store::{EventRecorder, ObjectEvent};
use kube::{
    Client,
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    FIELD_MANAGER, KubernetesMetrics,
    api::Api,
    backoff::Backoff,
    error::{Call, Failure},
};
use correlate::{Correlator, Step};

/// Events that wait to be written: what a large lab tells at once when its controller starts.
const QUEUE: usize = 1024;
/// Longest that the writer goes on after it was told to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Attempts to write one event.
const ATTEMPTS: u32 = 3;
/// Longest message that the API server takes.
const LONGEST_MESSAGE: usize = 1024;
/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// Takes events for an [`EventWriter`]. Never blocks: when the queue is full, the event is dropped and counted.
#[derive(Clone, Debug)]
pub struct KubernetesEvents {
    queue: mpsc::Sender<ObjectEvent>,
    metrics: KubernetesMetrics,
}

/// Writes the events of a [`KubernetesEvents`], one after the other. Whoever owns it runs it.
pub struct EventWriter {
    api: Api,
    instance: String,
    queue: mpsc::Receiver<ObjectEvent>,
    correlator: Correlator,
}

impl KubernetesEvents {
    /// A recorder for one namespace and what writes for it. `instance` says which process it was: the name of the Pod.
    pub fn new(
        client: Client,
        namespace: impl Into<String>,
        instance: impl Into<String>,
        metrics: KubernetesMetrics,
    ) -> (Arc<Self>, EventWriter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let api = Api {
            client,
            namespace: namespace.into(),
            request_timeout: Duration::from_secs(10),
            metrics: metrics.clone(),
        };
        let writer = EventWriter { api, instance: instance.into(), queue, correlator: Correlator::default() };
        (Arc::new(Self { queue: sender, metrics }), writer)
    }
}

impl EventRecorder for KubernetesEvents {
    fn record(&self, event: ObjectEvent) {
        tracing::debug!(object = %event.object, kind = %event.kind, reason = event.reason, "{}", event.message);
        if self.queue.try_send(event).is_err() {
            self.metrics.event("dropped");
        }
    }
}

impl EventWriter {
    /// Writes until `stop` fires or every recorder is gone, and then for a moment what is left.
    ///
    /// # Cancel safety
    /// A dropped run loses what it had taken; nothing else is harmed.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                // Both are cancel safe.
                () = stop.cancelled() => break,
                event = self.queue.recv() => event,
            };
            let Some(event) = event else { return };
            tokio::select! {
                // An event is lost at worst.
                () = stop.cancelled() => break,
                () = self.write(event) => {}
            }
        }
        self.queue.close();
        let rest = async {
            while let Some(event) = self.queue.recv().await {
                self.write(event).await;
            }
        };
        if timeout(DRAIN, rest).await.is_err() {
            tracing::debug!("some events were not written in time");
        }
    }

    async fn write(&mut self, event: ObjectEvent) {
        let now = Timestamp::now();
        let step = self.correlator.judge(&event, now);
        let (message, repeated) = match step {
            Step::Drop => return self.api.metrics.event("dropped"),
            Step::Create { message } => (message, None),
            Step::Repeat { name, count, message } => (message, Some((name, count))),
        };
        if let Some((name, count)) = repeated {
            match self.patch(&name, count, &message, now).await {
                Ok(()) => return self.api.metrics.event("repeated"),
                // It has expired: a new one.
                Err(failure) if failure.code() == 404 => {}
                Err(failure) => return self.failed(&event, "patch", failure),
            }
        }
        let body = self.body(&event, &message, now);
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match self.create(&body).await {
            Ok(()) => {
                self.correlator.created(&event, &message, name, now);
                self.api.metrics.event("created");
            }
            Err(failure) => self.failed(&event, "create", failure),
        }
    }

    fn failed(&self, event: &ObjectEvent, verb: &'static str, failure: Failure) {
        let error = failure.into_store(&self.call(verb), None);
        tracing::debug!(object = %event.object, reason = event.reason, %error, "an event was not written");
        self.api.metrics.event("failed");
    }

    async fn create(&self, body: &Value) -> Result<(), Failure> {
        let post = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = self.path().create(&post, body.to_string().into_bytes()).map_err(|error| garbled(&error))?;
        self.send("create", request).await
    }

    async fn patch(&self, name: &str, count: u32, message: &str, now: Timestamp) -> Result<(), Failure> {
        let patch = json!({ "count": count, "lastTimestamp": seconds(now), "message": shortened(message) });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = self.path().patch(name, &params, &Patch::Merge(&patch)).map_err(|error| garbled(&error))?;
        self.send("patch", request).await
    }

    async fn send(&self, verb: &'static str, request: http::Request<Vec<u8>>) -> Result<(), Failure> {
        let call = self.call(verb);
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(4));
        let mut attempt = 1;
        loop {
            match self.api.json(&call, request.clone()).await {
                Ok(_) => return Ok(()),
                // The first attempt was made after all.
                Err(failure) if failure.code() == 409 && attempt > 1 => return Ok(()),
                Err(failure) if attempt < ATTEMPTS && (failure.code() == 0 || failure.code() >= 500) => attempt += 1,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn path(&self) -> Request {
        Request::new(format!("/api/v1/namespaces/{}/events", self.api.namespace))
    }

    fn call(&self, verb: &'static str) -> Call {
        Call { verb, group: "", resource: "events", subresource: "", namespace: self.api.namespace.clone() }
    }

    fn body(&self, event: &ObjectEvent, message: &str, now: Timestamp) -> Value {
        let ObjectEvent { object, uid, resource_version, kind, component, reason, message: _ } = event;
        // One name for each moment, as other recorders do.
        let suffix = format!(".{:x}", now.as_nanosecond());
        let stem: String = object.name.chars().take(LONGEST_NAME - suffix.len()).collect();
        let mut involved = json!({
            "apiVersion": object.kind.api_version(), "kind": object.kind.name(),
            "namespace": object.namespace, "name": object.name, "uid": uid,
        });
        if let Some(version) = resource_version {
            involved["resourceVersion"] = version.to_string().into();
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": format!("{stem}{suffix}"), "namespace": self.api.namespace },
            "involvedObject": involved,
            "reason": reason, "message": shortened(message), "type": kind.name(), "count": 1,
            "firstTimestamp": seconds(now), "lastTimestamp": seconds(now),
            "source": { "component": component, "host": self.instance },
            "reportingComponent": component, "reportingInstance": self.instance,
        })
    }
}

/// At most as long as the API server takes.
fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST_MESSAGE)]
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn garbled(error: &kube::core::request::Error) -> Failure {
    Failure::Garbled(error.to_string())
}
