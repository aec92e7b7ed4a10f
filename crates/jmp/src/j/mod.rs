//! `j`: the drivers of the exporter that this shell has leased, as commands.
//!
//! The tree of commands is that of the drivers. What a driver's command can do follows from its client class, as the
//! exporter names it; `call` works for every driver.
mod call;
mod clients;
mod host;
mod text;
mod tree;

use std::{ffi::OsString, process::ExitCode};

use clap::{
    Args, Command,
    error::{ContextKind, ErrorKind},
};

pub(crate) use self::text::harmless;
use crate::{cli, failure::Failure, output, usage};

/// `jmp j WORDS…`.
#[derive(Args)]
pub(crate) struct Words {
    /// Drivers and their commands; `--help` shows what there is.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Words {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let mut words = vec!["j".into()];
        words.extend(self.words);
        work(words).await
    }
}

/// The program `j`.
pub(crate) async fn main(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    let mut words = arguments.to_vec();
    if let Some(program) = words.first_mut() {
        *program = "j".into();
    }
    cli::start_logging(log_level(&words));
    work(words).await
}

/// `--log-level` counts wherever it stands, before the drivers are known.
fn log_level(words: &[OsString]) -> Option<cli::LogLevel> {
    use clap::ValueEnum as _;
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let value = words.iter().enumerate().find_map(|(index, word)| match word.split_once('=') {
        Some(("--log-level", value)) => Some(value.to_owned()),
        _ if word == "--log-level" => words.get(index + 1).map(ToString::to_string),
        _ => None,
    });
    cli::LogLevel::from_str(&value?, true).ok()
}

async fn work(words: Vec<OsString>) -> Result<ExitCode, Failure> {
    let work = async {
        let session = host::connect().await?;
        let tree = tree::Tree::fetch(&session).await?;
        let mut command = tree.command();
        let words = tree.undotted(words);
        match command.try_get_matches_from_mut(words.clone()) {
            Ok(matches) => tree.run(&session, &matches).await,
            Err(error) => Ok(complain(&command, &words, &error)),
        }
    };
    tokio::select! {
        outcome = work => match outcome {
            // In here every failure has the same code, as scripts know it.
            Err(Failure::Usage(message)) => Err(Failure::Failed(message)),
            outcome => outcome,
        },
        // Dropping the work cuts its calls and streams.
        signal = interrupted() => Err(Failure::Interrupted(signal?.to_owned())),
    }
}

async fn interrupted() -> Result<&'static str, Failure> {
    use tokio::signal::unix::SignalKind;

    use crate::commands::run::caught;
    let mut interrupt = caught(SignalKind::interrupt())?;
    let mut terminate = caught(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT pressed, terminating"),
        _ = terminate.recv() => Ok("SIGTERM received, terminating"),
    }
}

/// Prints help or a usage error; here its code is 1.
fn complain(command: &Command, words: &[OsString], error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp => {
            output::say(error.render().to_string().trim_end());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::complain(error.render().to_string().trim_end());
            ExitCode::FAILURE
        }
        kind => {
            let command = usage::named(command, words);
            let mut message = usage::message(&command, error);
            if kind == ErrorKind::InvalidSubcommand && error.get(ContextKind::SuggestedSubcommand).is_none() {
                let known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
                message = format!("{message} There are: {}.", known.join(", "));
            }
            usage::print(&command, &message);
            ExitCode::FAILURE
        }
    }
}

/// The commands as far as they are known now, for completion; only the program's own options when there is no exporter.
pub(crate) fn completion_command() -> Command {
    let fetch = async {
        let session = host::connect().await?;
        Ok::<_, Failure>(tree::Tree::fetch(&session).await?.command())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime.ok().and_then(|runtime| {
        let limit = std::time::Duration::from_secs(3);
        let found = runtime.block_on(async { tokio::time::timeout(limit, fetch).await.ok()?.ok() });
        runtime.shutdown_background();
        found
    });
    found.unwrap_or_else(|| Command::new("j"))
}
