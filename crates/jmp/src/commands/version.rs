//! `jmp version`.

use clap::Args;
use serde_json::json;

use crate::{
    failure::Failure,
    output::{self, OutputMode},
};

/// Options of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<OutputMode>,
}

/// Prints the version. The JSON keys are those of the other implementation; there is no Python here.
pub(crate) fn run(args: &VersionArgs) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let facts = json!({ "gitVersion": version, "pythonVersion": "none" });
    match args.output {
        Some(OutputMode::Json) => output::say(&output::json(&facts)?),
        Some(OutputMode::Yaml) => output::say(&output::yaml(&facts)?),
        Some(OutputMode::Name) | None => {
            let program = std::env::current_exe().ok();
            let directory = program.as_deref().and_then(std::path::Path::parent);
            let place = directory.map_or_else(String::new, |path| format!(" from {}", path.display()));
            output::say(&format!("Jumpstarter v{version}{place} (Rust)"));
        }
    }
    Ok(())
}
