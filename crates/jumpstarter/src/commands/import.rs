//! `jumpstarter import FILE`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::{admin, backup::DataDirArg, say};

/// `jumpstarter import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// YAML manifests; `-` reads standard input
    file: PathBuf,

    /// Namespace of manifests that name none; a running service takes its own
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,

    #[command(flatten)]
    data_dir: DataDirArg,
}

/// Checks every manifest first; nothing is written unless all are good.
pub(crate) async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.data_dir.resolve()?;
    let text = if args.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("read standard input")?
    } else {
        std::fs::read_to_string(&args.file).with_context(|| format!("read {}", args.file.display()))?
    };
    let count: u64 = match admin::post(&data_dir.admin_socket(), "/import", text.clone().into_bytes()).await? {
        Some(body) => {
            let answer: serde_json::Value = serde_json::from_slice(&body).context("read the answer")?;
            let created = answer.get("created").and_then(serde_json::Value::as_object);
            created.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
        }
        None => {
            let store = DataDirArg::open(&data_dir).await?;
            let report = store.import(std::io::Cursor::new(text.into_bytes()), &args.namespace).await?;
            report.created.values().map(|count| u64::try_from(*count).unwrap_or_default()).sum()
        }
    };
    say(format_args!("{count} objects imported"));
    Ok(ExitCode::SUCCESS)
}
