//! `jumpstarter demo`.

use std::process::ExitCode;

use clap::Args;

/// `jumpstarter demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Leave after the tour
    #[arg(long)]
    once: bool,
}

/// The tour.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet: {}", args.once)
}
