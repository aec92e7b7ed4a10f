//! Log lines for machines, with the keys of today's deployments: `ts`, `level`, `logger`, `msg`, `component`.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// One JSON object an event. Fields of the spans around it are in it too; the event's own win.
pub(super) struct MachineLines {
    /// Which part of the service writes, for `component`.
    pub(super) component: &'static str,
}

impl<S> FormatEvent<S, JsonFields> for MachineLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let Fields(mut own) = fields;
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("ts".to_owned(), format!("{:.6}", Timestamp::now()).into());
        line.insert("level".to_owned(), metadata.level().as_str().to_ascii_lowercase().into());
        line.insert("logger".to_owned(), metadata.target().into());
        line.insert("msg".to_owned(), own.shift_remove("message").unwrap_or_default());
        line.insert("component".to_owned(), self.component.into());
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(text) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
            // Nearest first; an outer span does not change what an inner one says.
            if let Ok(Value::Object(outer)) = serde_json::from_str(&text.fields) {
                for (name, value) in outer {
                    own.entry(name).or_insert(value);
                }
            }
        }
        for (name, value) in own {
            line.entry(name).or_insert(value);
        }
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// Collects the fields of an event.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

// `JsonFields` must be what the subscriber keeps with its spans.
const _: fn() = || {
    fn formats<T: for<'writer> FormatFields<'writer>>() {}
    formats::<JsonFields>();
};

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn lines_have_the_keys_of_todays_logs() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(MachineLines { component: "controller" })
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _outer = tracing::info_span!("call", lease_id = "l1", code = 1).entered();
            let _inner = tracing::info_span!("step", code = 2).entered();
            tracing::warn!(peer = "10.0.0.9", n = 3, "client authentication failed");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut line: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let ts: Timestamp = line.remove("ts").unwrap().as_str().unwrap().parse().unwrap();
        assert!(ts <= Timestamp::now());
        let expected = serde_json::json!({
            "level": "warn", "logger": "jumpstarter::telemetry::machine_lines::tests",
            "msg": "client authentication failed", "component": "controller",
            "peer": "10.0.0.9", "n": 3, "lease_id": "l1", "code": 2,
        });
        assert_eq!(Value::Object(line), expected);
        assert!(text.contains("\"peer\":\"10.0.0.9\""), "{text}");
    }
}
