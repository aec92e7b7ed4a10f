//! `jmp`: the command line of clients, administrators and exporters.
mod cli;
mod cluster;
mod commands;
mod failure;
mod output;
mod prompt;
mod usage;
mod values;
mod view;

use std::{ffi::OsString, process::ExitCode};

use crate::failure::Failure;

fn main() -> ExitCode {
    jumpstarter_transport::install_crypto_provider();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match usage::parse(&arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.start_logging();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(cli.command.run());
            // A thread that waits for the terminal must not keep the program from ending.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::from_error("start the runtime", &error)),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(message)) => usage::complain(&arguments, &message),
        Err(Failure::Failed(message)) => {
            output::complain(&format!("Error: {message}"));
            ExitCode::FAILURE
        }
        Err(Failure::Aborted) => {
            output::complain("Aborted!");
            ExitCode::FAILURE
        }
    }
}
