//! `jumpstarter controller`.

use std::process::ExitCode;

use crate::cluster::{self, ControllerArgs};

/// Serves or stands by until SIGINT or SIGTERM.
pub(crate) async fn run(args: ControllerArgs) -> anyhow::Result<ExitCode> {
    cluster::run(args.resolve()?).await?;
    Ok(ExitCode::SUCCESS)
}
