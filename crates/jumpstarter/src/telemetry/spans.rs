//! Spans for an OpenTelemetry collector, made of what the log says anyway: a line that tells how long something took is a
//! span that ends now. Nothing is spent on a stream while it runs, and nothing at all when nobody collects.
//!
//! The stream's id is the id of the trace, so that what the controller and a router tell of one stream is in one place.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use uuid::Uuid;

/// Lines that are the end of something, and its name.
const SPANS: [(&str, &str); 3] = [("dial", "dial"), ("stream opened", "stream set-up"), ("stream ended", "stream")];

/// Sends spans until it is dropped; then what is left, for a second or so.
pub(super) struct Sender(SdkTracerProvider);

impl Drop for Sender {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(Duration::from_secs(2)) {
            tracing::debug!(%error, "some spans were not sent");
        }
    }
}

/// A layer for the log and what sends its spans to `OTEL_EXPORTER_OTLP_ENDPOINT`, in batches and in the background. Must be
/// called in a runtime.
///
/// # Errors
/// When the endpoint or another `OTEL_` variable makes no sense.
pub(super) fn to_collector(service: &'static str) -> anyhow::Result<(SpanLayer, Sender)> {
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let name = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let name = name.map_or(Cow::Borrowed(service), Cow::Owned);
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Ok((SpanLayer { tracer: provider.tracer("jumpstarter") }, Sender(provider)))
}

/// Makes spans of lines.
pub(super) struct SpanLayer {
    tracer: SdkTracer,
}

impl<S: Subscriber> Layer<S> for SpanLayer {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        if !event.metadata().target().starts_with("jumpstarter") {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let Some((_, name)) = SPANS.iter().find(|(message, _)| *message == line.message) else { return };
        let Some(took) = line.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else { return };
        let end = Timestamp::now();
        let start = end.checked_sub(took).unwrap_or(end);
        let parent = line.stream.map_or_else(Context::new, of_stream);
        let mut span = SpanBuilder::from_name(*name)
            .with_kind(SpanKind::Server)
            .with_start_time(start)
            .with_attributes(line.attributes)
            .start_with_context(&self.tracer, &parent);
        span.end_with_timestamp(end.into());
    }
}

/// The trace of one stream: whoever tells of it names the same, without having heard of each other.
fn of_stream(stream: Uuid) -> Context {
    let (_, low) = stream.as_u64_pair();
    let trace = TraceId::from_bytes(stream.into_bytes());
    let root = SpanContext::new(
        trace,
        SpanId::from_bytes(low.to_be_bytes()),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    Context::new().with_remote_span_context(root)
}

/// A line of the log.
#[derive(Default)]
struct Line {
    message: String,
    seconds: Option<f64>,
    stream: Option<Uuid>,
    attributes: Vec<KeyValue>,
}

impl Line {
    fn text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "stream" => {
                self.stream = text.parse().ok();
                self.attributes.push(KeyValue::new("stream", text));
            }
            name => self.attributes.push(KeyValue::new(name, text)),
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "seconds" {
            self.seconds = Some(value);
        } else {
            self.attributes.push(KeyValue::new(field.name(), value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.attributes.push(KeyValue::new(field.name(), i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{KeyValue, SdkTracerProvider, SpanLayer, TraceId, Uuid};

    /// Keeps what is sent.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn lines_that_tell_how_long_something_took_become_spans_of_the_streams_trace() {
        let exporter = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = SpanLayer { tracer: provider.tracer("test") };
        let stream = Uuid::new_v4();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(%stream, lease = "one", seconds = 0.25, "dial");
            tracing::info!(%stream, outcome = "cut", from_client = 7_u64, seconds = 90.5, "stream ended");
            tracing::info!(%stream, "stream ended");
            tracing::info!(seconds = 1.0, "something else");
            tracing::info!(target: "other", seconds = 1.0, "dial");
        });
        let spans = exporter.0.lock().unwrap();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["dial", "stream"]);
        for (span, took) in spans.iter().zip([0.25, 90.5]) {
            assert_eq!(span.span_context.trace_id(), TraceId::from_bytes(stream.into_bytes()));
            let lasted = span.end_time.duration_since(span.start_time).unwrap();
            assert!((lasted.as_secs_f64() - took).abs() < 1e-6, "{lasted:?}");
        }
        assert!(spans[1].attributes.contains(&KeyValue::new("from_client", 7)));
    }
}
