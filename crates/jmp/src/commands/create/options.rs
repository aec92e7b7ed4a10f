//! Options that a lease and a group of leases share. Where a group says it in other words, the command does.
use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use jiff::Timestamp;
use jumpstarter_client::CreateLease;
use jumpstarter_config::ClientConfig;

use super::Signals;
use crate::{
    failure::Failure,
    listing::Present,
    output::{self, ListMode},
    values::{at_least_5s, duration, moment, pair},
    view::View,
};

/// When, and for how long.
#[derive(Args)]
pub(super) struct Time {
    /// How long: 30m, 3h30m, 1d, 01:30:00, PT1H30M, or seconds.
    #[arg(long, value_parser = duration)]
    duration: Duration,
    /// Not before this moment, in ISO 8601; without a zone it is local time. An exporter is reserved from then on.
    #[arg(long, value_name = "DATETIME", value_parser = moment)]
    begin_time: Option<Timestamp>,
}

/// What goes along.
#[derive(Args)]
pub(super) struct Marks {
    /// Tag to set on the lease; may be given more than once.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Context that the exporter is told, for its logs; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
}

/// A lease of nothing yet, with these options.
pub(super) fn lease(time: &Time, marks: &Marks) -> Result<CreateLease, Failure> {
    let (Time { duration, begin_time }, Marks { tags, context }) = (time, marks);
    Ok(CreateLease {
        duration: *duration,
        begin_time: *begin_time,
        tags: tags.iter().cloned().collect(),
        context: checked(context)?,
        ..CreateLease::default()
    })
}

/// What is waited for, and how the outcome is shown.
#[derive(Args)]
pub(super) struct Outcome {
    /// Wait until the lease holds an exporter; interrupted, the lease is given back.
    #[arg(long)]
    wait: bool,
    /// With --wait: how long at most.
    #[arg(long, value_name = "DURATION", value_parser = at_least_5s, requires = "wait")]
    acquisition_timeout: Option<Duration>,
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<ListMode>,
}

impl Outcome {
    /// What interrupts the wait, if there is to be one: caught before there is a lease, since from then on an
    /// interruption gives it back.
    pub(super) fn signals(&self) -> Result<Option<Signals>, Failure> {
        self.wait.then(Signals::catch).transpose()
    }

    /// How long the wait is at most.
    pub(super) fn limit(&self, config: &ClientConfig) -> Duration {
        self.acquisition_timeout.unwrap_or(Duration::from_secs(config.leases.acquisition_timeout))
    }

    /// Prints what `view` makes of it, wide or not.
    pub(super) fn show(&self, view: impl FnOnce(bool, &Present) -> View) -> Result<(), Failure> {
        let view = view(self.output == Some(ListMode::Wide), &Present::here());
        output::write(&output::rendered(&view, self.output)?);
        Ok(())
    }
}

/// Context, within the limits that services have.
fn checked(entries: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    const KEY: usize = 32;
    const VALUE: usize = 64;
    const ENTRIES: usize = 8;
    for (key, value) in entries {
        if key.chars().count() > KEY {
            return Err(Failure::Usage(format!("Context key too long: '{key}' (max {KEY} characters)")));
        }
        if value.chars().count() > VALUE {
            let text = format!("Context value too long for key '{key}' (max {VALUE} characters)");
            return Err(Failure::Usage(text));
        }
    }
    let context: BTreeMap<_, _> = entries.iter().cloned().collect();
    if context.len() > ENTRIES {
        return Err(Failure::Usage(format!("Too many context entries (max {ENTRIES})")));
    }
    Ok(context)
}
