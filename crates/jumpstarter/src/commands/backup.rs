//! `jumpstarter backup FILE`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use jumpstarter_store::{EmbeddedOptions, EmbeddedStore};

use super::{admin, say};
use crate::{data_dir::DataDir, settings};

/// Which data directory a command is about.
#[derive(Args, Debug, Clone)]
pub(crate) struct DataDirArg {
    /// Data directory of the service
    #[arg(long, value_name = "DIR", env = "JUMPSTARTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDirArg {
    pub(crate) fn resolve(&self) -> anyhow::Result<DataDir> {
        let path = self
            .data_dir
            .clone()
            .or_else(settings::default_data_dir)
            .context("no data directory: name it with --data-dir or JUMPSTARTER_DATA_DIR")?;
        anyhow::ensure!(path.is_dir(), "the data directory {} does not exist", path.display());
        Ok(DataDir::new(&path))
    }

    /// Opens the store of a service that does not run.
    pub(crate) async fn open(data_dir: &DataDir) -> anyhow::Result<EmbeddedStore> {
        let path = data_dir.path().to_owned();
        Ok(tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, EmbeddedOptions::default())).await??)
    }
}

/// `jumpstarter backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// New file for the copy; to restore, stop the service and put it in the place of `store.sqlite`
    file: PathBuf,

    #[command(flatten)]
    data_dir: DataDirArg,
}

/// Asks the running service for a copy, or makes it when none runs.
pub(crate) async fn run(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.data_dir.resolve()?;
    let file = std::path::absolute(&args.file).context("find the place of the copy")?;
    let request = serde_json::to_vec(&serde_json::json!({ "path": file }))?;
    if admin::post(&data_dir.admin_socket(), "/backup", request).await?.is_none() {
        DataDirArg::open(&data_dir).await?.backup(&file).await?;
    }
    say(format_args!("{}", file.display()));
    Ok(ExitCode::SUCCESS)
}
