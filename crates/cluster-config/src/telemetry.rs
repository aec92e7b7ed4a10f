//! `telemetry`.

use crate::{
    endpoint::{self, Port},
    read::{Fields, Log, object},
};

/// Where exporters are told to send their logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// `host:port`.
    pub endpoint: String,
    /// PEM text of the endpoint's certificate; usually empty.
    pub certificate: String,
    /// What is not worth sending.
    pub min_severity: Severity,
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `debug`
    Debug,
    /// `info`
    #[default]
    Info,
    /// `warning`
    Warning,
    /// `error`
    Error,
    /// `critical`
    Critical,
}

impl Severity {
    const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// As written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// `None` when it is switched off.
pub(crate) fn read(fields: &mut Fields<'_>, namespace: &str, log: &mut Log<'_>) -> Option<Telemetry> {
    let enabled = fields.get("enabled").and_then(|at| at.flag(log)).unwrap_or_default();
    let address = fields.get("endpoint").and_then(|at| {
        let text = at.text(log).filter(|text| !text.is_empty())?;
        endpoint::check(&text, Port::Optional).map_err(|error| at.fault(log, error)).ok().map(|()| text)
    });
    let certificate = fields.get("certificate").and_then(|at| at.text(log)).unwrap_or_default();
    let min_severity = object(fields, "logging", log, |logging, log| {
        object(logging, "filter", log, |filter, log| filter.get("min_severity").map(|at| severity(&at, log)))
    });
    enabled.then(|| Telemetry {
        endpoint: address.unwrap_or_else(|| format!("jumpstarter-telemetry.{namespace}:9093")),
        certificate,
        min_severity: min_severity.unwrap_or_default(),
    })
}

fn severity(at: &crate::read::At<'_>, log: &mut Log<'_>) -> Severity {
    let text = at.text(log).unwrap_or_default();
    if text.is_empty() {
        return Severity::default();
    }
    let found = Severity::ALL.into_iter().find(|severity| severity.as_str() == text);
    if found.is_none() {
        let known: Vec<&str> = Severity::ALL.into_iter().map(Severity::as_str).collect();
        at.fault(log, format!("{} is not a severity: expected {}", crate::fault::quote(&text), known.join(", ")));
    }
    found.unwrap_or_default()
}
