//! Every layer of tests, in the order in which a mistake costs least.

use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{
    command::{Aside, cargo, run as run_command, workspace},
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
    /// Those against a real Kubernetes API server alone
    Kubernetes,
    /// Simulations of small labs alone
    Seeds,
    /// The container image, built from static programs; needs buildah, and is not part of what runs by default
    Image,
}

/// Scenarios of the Python peers that run a second time on Kubernetes.
const ON_KUBERNETES: [&str; 8] =
    ["device::", "failures::", "hooks::", "leases::", "listings::", "mixed::", "oldest::", "sharing::"];
/// Those among them that are about one machine: sockets of systemd, and flags of `jumpstarter serve`.
const ON_ONE_MACHINE: [&str; 2] = ["a_socket_that_outlives_the_service", "tunnels_of_another_router"];

/// Small labs that are simulated beside the other tests, and by themselves: some four minutes of two cores.
const SEEDS_ASIDE: u32 = 400;
const SEEDS: u32 = 1000;
/// Labs among them in which something is found that is not mended yet: docs/simulation.md says what.
const OPEN: &str = "80,86,117,231,385,436,628,676,919,923";
/// What labs are made of. Built with optimisation they take half of the time, and the program is there soon, since what
/// comes from elsewhere is that of the tests.
const OF_LABS: [&str; 7] = ["sim", "controller", "scheduler", "store", "model", "auth", "protocol"];

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
        Layer::Tests => {
            build()?;
            build_simulator()?;
            // They wait for one another's processes more than they compute: side by side they take half the time.
            let aside = [Some(seeds(SEEDS_ASIDE)?), peers_on_kubernetes()].into_iter().flatten();
            let aside = aside.map(Aside::start).collect::<Result<Vec<_>>>()?;
            let first = run_command(&mut every_test(&[]));
            aside.into_iter().map(Aside::wait).fold(first, Result::and)
        }
        Layer::Image => run_command(Command::new("deploy/image/test.sh").current_dir(workspace())),
        Layer::Seeds => {
            build_simulator()?;
            run_command(&mut seeds(SEEDS)?)
        }
        Layer::Peers => tests(&["--test", "peers"]),
        Layer::Kubernetes => {
            tests(&["--test", "kubernetes", "--test", "cluster"])?;
            peers_on_kubernetes().map_or(Ok(()), |mut command| run_command(&mut command))
        }
    }
}

/// Builds every test, and the programs that tests start.
fn build() -> Result<()> {
    setup::run()?;
    run_command(cargo().args(["build", "--workspace", "--bins", "--tests", "--examples", "--locked"]))
}

fn tests(which: &[&str]) -> Result<()> {
    build()?;
    run_command(&mut every_test(which))
}

/// The whole workspace is selected whichever tests run: another selection would mean other features of shared
/// crates, and a second build of them.
fn every_test(which: &[&str]) -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(which);
    if !go::available() {
        command.env(go::WITHOUT, "1");
    }
    command
}

/// Builds the simulator in the place of the one that the tests have, with the same selection of packages as they.
fn build_simulator() -> Result<()> {
    let mut command = cargo();
    // With a test, since cargo leaves features out otherwise that only tests ask for, and builds what is from elsewhere
    // once more.
    command.args(["build", "--workspace", "--bin=jumpstarter-sim", "--test=simulation", "--locked"]);
    for name in OF_LABS {
        command.arg(format!("--config=profile.dev.package.jumpstarter-{name}.opt-level=1"));
    }
    run_command(&mut command)
}

/// Simulations of many small labs, by the program that was built for them: `cargo run` would build another one.
fn seeds(count: u32) -> Result<Command> {
    let own = std::env::current_exe().context("find the directory of the programs")?;
    let mut command = Command::new(own.with_file_name("jumpstarter-sim"));
    command.args(["--small", "--seed=1"]).arg(format!("--seeds={count}")).arg(format!("--except={OPEN}"));
    Ok(command)
}

/// The scenarios of the peers once more, with the service on Kubernetes.
fn peers_on_kubernetes() -> Option<Command> {
    if !go::available() {
        eprintln!("xtask: SKIPPED: the Python peers on Kubernetes, for want of a kube-apiserver");
        return None;
    }
    let mut command = every_test(&["--test", "peers", "--"]);
    command.args(ON_KUBERNETES);
    for scenario in ON_ONE_MACHINE {
        command.args(["--skip", scenario]);
    }
    command.env("JUMPSTARTER_TEST_ON", "kubernetes");
    Some(command)
}
