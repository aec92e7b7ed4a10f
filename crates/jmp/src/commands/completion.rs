//! `jmp completion` and `jmp man`.
use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::{cli::Cli, complete::Shell, failure::Failure, output};

/// Options of `completion`.
#[derive(Args)]
pub(crate) struct Completion {
    /// The shell that is to read the script.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) {
        output::write(&self.shell.script("jmp"));
    }
}

/// Options of `man`.
#[derive(Args)]
pub(crate) struct Man {
    /// Directory for the pages; created when it is not there.
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::from_error(&format!("write pages to {}", self.directory.display()), &error)
        };
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), &self.directory).map_err(failed)
    }
}
