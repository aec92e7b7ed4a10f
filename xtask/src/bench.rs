//! The benchmarks. They assert nothing about time: they print ratios of things measured in the same run.

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    command::{cargo, run as run_command},
    setup,
};

/// A benchmark; its name is that of a bench target of `jumpstarter-testkit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Full lease cycles a second against the store's durable commits, and create → ready with idle exporters
    Leases,
    /// Release → next waiting lease granted, with a thousand waiting
    Handover,
    /// Memory of the service per connected idle exporter
    Idle,
    /// `jmp shell … -- true` through the service against local mode
    Shell,
}

/// Runs `name`, or all of them one after the other.
pub(crate) fn run(name: Option<Name>) -> Result<()> {
    // Optimised, without link-time optimisation: seconds after an edit instead of minutes.
    const PROFILE: [&str; 2] = ["--profile", "fastrel"];
    setup::run()?;
    run_command(cargo().args(["build", "--workspace", "--bins", "--locked"]).args(PROFILE))?;
    let names = name.map_or_else(|| Name::value_variants().to_vec(), |name| vec![name]);
    for name in names {
        let target = name.to_possible_value().expect("no variant is hidden").get_name().to_owned();
        run_command(cargo().args(["bench", "--workspace", "--locked", "--bench", &target]).args(PROFILE))?;
    }
    Ok(())
}
