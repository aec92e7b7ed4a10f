//! What is told about objects, for people: `kubectl describe` and the log.

use std::fmt;

use crate::{Key, Object, ResourceVersion};

/// Whether an event is as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Part of how things go.
    Normal,
    /// Someone may want to look.
    Warning,
}

impl EventKind {
    /// As Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that happened to an object, told once it is true: after the write that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// The object.
    pub object: Key,
    /// Its `uid`, so that the event is not shown for a later object of the same name.
    pub uid: String,
    /// The version that the event tells of.
    pub resource_version: Option<ResourceVersion>,
    /// Normal or a warning.
    pub kind: EventKind,
    /// Which part of the service tells it, for example `exporter-controller`.
    pub component: &'static str,
    /// One word in CamelCase that tools can match, for example `ExporterOnline`.
    pub reason: &'static str,
    /// A sentence for people, without secrets.
    pub message: String,
}

impl ObjectEvent {
    /// An event about this state of an object.
    pub fn new(
        object: &Object,
        kind: EventKind,
        component: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            object: object.key().clone(),
            uid: object.uid().to_owned(),
            resource_version: Some(object.resource_version()).filter(|version| *version != ResourceVersion::ZERO),
            kind,
            component,
            reason,
            message: message.into(),
        }
    }
}

/// Takes events. They are worth less than the service: a recorder that cannot keep up drops them.
pub trait EventRecorder: Send + Sync + 'static {
    /// Tells an event. Never blocks and never fails.
    fn record(&self, event: ObjectEvent);
}

/// Writes events to the log, and nowhere else.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogEvents;

impl EventRecorder for LogEvents {
    fn record(&self, event: ObjectEvent) {
        let ObjectEvent { object, component, reason, message, kind, .. } = event;
        match kind {
            EventKind::Normal => tracing::info!(%object, component, reason, "{message}"),
            EventKind::Warning => tracing::warn!(%object, component, reason, "{message}"),
        }
    }
}

/// Forgets events.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl EventRecorder for NoEvents {
    fn record(&self, _event: ObjectEvent) {}
}
