//! `jumpstarter crds`.

use std::process::ExitCode;

use super::say;

/// Prints the definitions as one YAML stream.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    for definition in jumpstarter_model::resource::crds() {
        say(format_args!("---\n{}", serde_saphyr::to_string(&definition)?.trim_end()));
    }
    Ok(ExitCode::SUCCESS)
}
