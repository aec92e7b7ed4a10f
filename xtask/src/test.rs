//! Every layer of tests, in the order in which a mistake costs least.

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{
    command::{cargo, run as run_command},
    deny, go, setup,
};

/// A layer of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layer {
    /// Formatting
    Format,
    /// Licences, banned crates, sources
    Deny,
    /// Clippy on every target, warnings are errors
    Lint,
    /// Every test there is, those with the real Python peers among them
    Tests,
    /// The tests with the real Python peers alone
    Peers,
}

/// What `cargo xtask test` runs.
const EVERY: [Layer; 4] = [Layer::Format, Layer::Deny, Layer::Lint, Layer::Tests];

/// Runs the named layers, or all of them; ends at the first that fails.
pub(crate) fn run(layers: &[Layer]) -> Result<()> {
    let layers = if layers.is_empty() { &EVERY } else { layers };
    for layer in layers {
        one(*layer).with_context(|| format!("layer {layer:?}"))?;
        eprintln!("xtask: layer {layer:?} passed");
    }
    Ok(())
}

fn one(layer: Layer) -> Result<()> {
    match layer {
        Layer::Format => run_command(cargo().args(["fmt", "--all", "--check"])),
        Layer::Deny => deny::check(),
        Layer::Lint => run_command(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ])),
        Layer::Tests => tests(&[]),
        Layer::Peers => tests(&["--test", "peers"]),
    }
}

/// The whole workspace is selected whichever tests run: another selection would mean other features of shared
/// crates, and a second build of them. Tests start our binaries, so these are built first.
fn tests(which: &[&str]) -> Result<()> {
    setup::run()?;
    run_command(cargo().args(["build", "--workspace", "--bins", "--tests", "--locked"]))?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(which);
    if !go::available() {
        command.env(go::WITHOUT, "1");
    }
    run_command(&mut command)
}
