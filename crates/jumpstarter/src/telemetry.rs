//! Logs.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How logs look and how much of them there is.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// Levels, as `info` or `info,jumpstarter_controller=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "JUMPSTARTER_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Lines for people or JSON for machines
    #[arg(long, global = true, value_enum, env = "JUMPSTARTER_LOG_FORMAT", default_value = "human")]
    pub(crate) log_format: LogFormat,
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line an event.
    Human,
    /// One JSON object an event.
    Json,
}

/// Starts logging to standard error.
pub(crate) fn start(args: &LogArgs) -> anyhow::Result<()> {
    // Below `info` the HTTP/2 stack prints headers, and with them tokens; only who names it gets that.
    let filter = format!("h2=info,hyper=info,rustls=info,{}", args.log);
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("--log `{}`: {error}", args.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Human => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            builder.with_ansi(colour).init();
        }
    }
    Ok(())
}
