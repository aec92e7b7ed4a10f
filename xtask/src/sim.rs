//! Simulations of whole labs; `docs/simulation.md` explains them.

use std::ffi::OsString;

use anyhow::Result;

use crate::command::{cargo, run as run_command};

/// Builds the simulator with optimisation and passes `args` on to it.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let simulator = ["run", "--quiet", "--locked", "--package=jumpstarter-sim", "--profile=fastrel", "--"];
    run_command(cargo().args(simulator).args(args))
}
