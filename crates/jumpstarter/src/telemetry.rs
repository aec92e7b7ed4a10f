//! Logs, and spans for who collects them.

mod machine_lines;
#[cfg(feature = "otlp")]
mod spans;

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt::format::JsonFields, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use machine_lines::MachineLines;

/// How logs look and how much of them there is.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// Levels, as `info` or `info,jumpstarter_controller=debug` [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "JUMPSTARTER_LOG")]
    pub(crate) log: Option<String>,

    /// Lines for people or JSON for machines [default: json for `controller` and for a `router` that is told by its
    /// environment, else human]
    #[arg(long, global = true, value_enum, env = "JUMPSTARTER_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line an event.
    Human,
    /// One JSON object an event.
    Json,
}

/// What a command wants of the log where nobody says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct LogDefaults {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
    /// The part of a service in a cluster that this process is; gives lines the keys that are usual there.
    pub(crate) component: Option<&'static str>,
}

impl Default for LogDefaults {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human, component: None }
    }
}

#[cfg(feature = "otlp")]
impl LogDefaults {
    /// What a collector calls this process, unless `OTEL_SERVICE_NAME` says otherwise.
    fn service(&self) -> &'static str {
        match self.component {
            Some("router") => "jumpstarter-router",
            Some("controller") => "jumpstarter-controller",
            _ => "jumpstarter",
        }
    }
}

/// Flags of the Go logger, as deployments pass them.
#[derive(Args, Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "they are the names of flags")]
pub(crate) struct ZapArgs {
    /// Debug lines for people
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = go_bool)]
    zap_devel: bool,

    /// `json` or `console`
    #[arg(long, hide = true)]
    zap_encoder: Option<String>,

    /// `debug`, `info`, `error`, `panic`, or a number for more than debug
    #[arg(long, hide = true)]
    zap_log_level: Option<String>,

    /// No effect
    #[arg(long, hide = true)]
    zap_stacktrace_level: Option<String>,

    /// No effect: times are RFC 3339
    #[arg(long, hide = true)]
    zap_time_encoding: Option<String>,
}

impl ZapArgs {
    /// What these flags mean for our log.
    pub(crate) fn defaults(&self, component: &'static str, format: LogFormat) -> LogDefaults {
        let format = match self.zap_encoder.as_deref() {
            Some("console") => LogFormat::Human,
            Some("json") => LogFormat::Json,
            _ if self.zap_devel => LogFormat::Human,
            _ => format,
        };
        let level = match self.zap_log_level.as_deref() {
            Some("error" | "panic") => "error",
            Some("info") => "info",
            Some("debug") => "debug",
            // Numbers are ever more detail.
            Some(text) if text.parse::<u8>().is_ok_and(|level| level > 0) => "debug",
            _ if self.zap_devel => "debug",
            _ => "info",
        };
        LogDefaults { level: level.to_owned(), format, component: Some(component) }
    }
}

/// Booleans as Go's flags take them.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// What must live as long as the process: dropped, it sends what is left to be sent.
#[must_use]
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    _spans: Option<spans::Sender>,
}

/// Starts logging to standard error, and sending spans to a collector where the environment names one. Must be called in
/// a runtime.
pub(crate) fn start(args: &LogArgs, defaults: &LogDefaults) -> anyhow::Result<Telemetry> {
    let levels = args.log.as_ref().unwrap_or(&defaults.level);
    // Below `info` the HTTP/2 stack prints headers, and with them tokens; only who names it gets that.
    // The Kubernetes client calls every refusal an error, also those that are part of the game; its callers tell more.
    let filter = format!("h2=info,hyper=info,rustls=info,kube_client=off,{levels}");
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("--log `{levels}`: {error}"))?;
    let wanted = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|endpoint| !endpoint.is_empty());
    #[cfg(feature = "otlp")]
    let (layer, sender) = match wanted.then(|| spans::to_collector(defaults.service())).transpose() {
        Ok(spans) => spans.unzip(),
        Err(error) => anyhow::bail!("OTEL_EXPORTER_OTLP_ENDPOINT: {error:#}"),
    };
    #[cfg(not(feature = "otlp"))]
    let layer: Option<tracing_subscriber::layer::Identity> = None;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match (args.log_format.unwrap_or(defaults.format), defaults.component) {
        (LogFormat::Json, Some(component)) => {
            let lines = builder.fmt_fields(JsonFields::new()).event_format(MachineLines { component });
            lines.finish().with(layer).init();
        }
        (LogFormat::Json, None) => builder.json().flatten_event(true).finish().with(layer).init(),
        (LogFormat::Human, _) => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            builder.with_ansi(colour).finish().with(layer).init();
        }
    }
    #[cfg(not(feature = "otlp"))]
    if wanted {
        tracing::warn!("OTEL_EXPORTER_OTLP_ENDPOINT has no effect: this program was built without the feature `otlp`");
    }
    Ok(Telemetry {
        #[cfg(feature = "otlp")]
        _spans: sender,
    })
}
