//! `jumpstarter export`.

use std::process::ExitCode;

use clap::Args;

use super::{admin, backup::DataDirArg, say};

/// `jumpstarter export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    data_dir: DataDirArg,
}

/// Prints manifests that `jumpstarter import` and `kubectl apply` take. They hold tokens: keep them safe.
pub(crate) async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.data_dir.resolve()?;
    match admin::post(&data_dir.admin_socket(), "/export", Vec::new()).await? {
        Some(body) => say(String::from_utf8_lossy(&body).trim_end()),
        None => DataDirArg::open(&data_dir).await?.export(std::io::stdout()).await?,
    }
    Ok(ExitCode::SUCCESS)
}
