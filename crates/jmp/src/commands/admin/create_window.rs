//! `jmp admin create window`: a time at which exporters are not given out.

use clap::Args;
use jiff::Timestamp;
use jumpstarter_model::{GoDuration, MaintenanceWindow, MaintenanceWindowSpec, Selector, window::Schedule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::create_policy::{duration, selector};
use crate::{
    cluster::{Kind, Place},
    failure::Failure,
    output::{self, OutputMode},
    values::moment,
    view::{self, Options},
};

/// Options of the command.
#[derive(Debug, Args)]
pub(super) struct WindowArgs {
    /// Name of the window.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Exporters that it is about, as a label selector; `''` is all of them.
    #[arg(long, value_name = "SELECTOR", value_parser = selector, required_unless_present = "exporter")]
    exporters: Option<Selector>,
    /// An exporter that it is about; may be given more than once.
    #[arg(long, value_name = "EXPORTER")]
    exporter: Vec<String>,
    /// When it opens, again and again: minute, hour, day of month, month, day of week, such as '0 22 * * 5'.
    #[arg(long, value_name = "CRON", required_unless_present = "start", conflicts_with = "start")]
    schedule: Option<String>,
    /// Time zone of the schedule, such as Europe/Berlin [default: UTC].
    #[arg(long, value_name = "ZONE", requires = "schedule")]
    time_zone: Option<String>,
    /// When it opens, once, in ISO 8601; without a zone it is local time.
    #[arg(long, value_name = "DATETIME", value_parser = moment)]
    start: Option<Timestamp>,
    /// How long it stays open, such as 2h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: GoDuration,
    /// Shown to those who wait.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Clients that may have the exporters all the same, as a label selector.
    #[arg(long, value_name = "SELECTOR", value_parser = selector)]
    clients: Option<Selector>,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<OutputMode>,
}

/// Creates a window.
pub(super) async fn run(args: &WindowArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "window")?;
    let spec = spec(args);
    let schedule = Schedule::of(&spec).map_err(|error| Failure::Usage(error.to_string()))?;
    if schedule.open_after(Timestamp::now()).is_none() {
        return Err(Failure::Usage("the window would be over already: choose a later --start".to_owned()));
    }
    let cluster = args.place.connect().await?;
    if args.output.is_none() {
        output::say(&format!("Creating window '{name}' in namespace '{}'", cluster.namespace()));
    }
    let manifest = serde_json::to_value(MaintenanceWindow::new(name, spec))
        .map_err(|error| Failure::from_error("write the manifest", &error))?;
    let created = cluster.create(Kind::Window, manifest).await?;
    output::print(&view::one(Kind::Window, &created, Options::now()), args.output, cluster.namespace())
}

fn spec(args: &WindowArgs) -> MaintenanceWindowSpec {
    MaintenanceWindowSpec {
        exporter_selector: args.exporters.as_ref().map(Selector::to_label_selector),
        exporters: (!args.exporter.is_empty()).then(|| args.exporter.clone()),
        schedule: args.schedule.clone(),
        time_zone: args.time_zone.clone(),
        start: args.start.map(Time),
        duration: Some(args.duration),
        reason: args.reason.clone(),
        client_selector: args.clients.as_ref().map(Selector::to_label_selector),
    }
}
