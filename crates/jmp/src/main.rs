//! `jmp`: the command line of clients, administrators and exporters. Called as `j`, the commands of drivers alone.
mod cli;
mod client_args;
mod cluster;
mod commands;
mod complete;
mod failure;
mod j;
mod lease_wait;
mod listing;
mod oidc;
mod output;
mod prompt;
#[cfg(test)]
mod released;
mod selectors;
mod terminal;
mod token;
mod usage;
mod values;
mod view;

use std::{ffi::OsString, path::Path, process::ExitCode};

use crate::failure::Failure;

fn main() -> ExitCode {
    jumpstarter_transport::install_crypto_provider();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = arguments.first().and_then(|path| Path::new(path).file_name()).unwrap_or_default();
    if program == "j" {
        if complete::answered("j") {
            return ExitCode::SUCCESS;
        }
        return finished(&arguments, run(j::main(&arguments)));
    }
    if complete::answered("jmp") {
        return ExitCode::SUCCESS;
    }
    let cli = match usage::parse(&arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.start_logging();
    finished(&arguments, run(cli.command.run()))
}

fn run(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(work);
            // A thread that waits for the terminal must not keep the program from ending.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::from_error("start the runtime", &error)),
    }
}

fn finished(arguments: &[OsString], outcome: Result<ExitCode, Failure>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(message)) => usage::complain(arguments, &message),
        Err(Failure::Failed(message)) => {
            output::error(&message);
            ExitCode::FAILURE
        }
        Err(Failure::Aborted) => {
            output::complain("Aborted!");
            ExitCode::FAILURE
        }
        Err(Failure::Interrupted(message)) => {
            output::complain(&message);
            ExitCode::from(2)
        }
    }
}
