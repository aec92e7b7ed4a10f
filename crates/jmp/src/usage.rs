//! Usage errors in the words that scripts and people know: usage line, hint, blank line, error; exit code 2.

use std::{ffi::OsString, process::ExitCode};

use clap::{
    CommandFactory as _, Parser as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{cli::Cli, output};

/// Reads the command line. On failure, and on a request for help, everything is printed and the exit code returned.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, ExitCode> {
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp => {
            output::say(error.render().to_string().trim_end());
            Err(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::complain(error.render().to_string().trim_end());
            Err(ExitCode::from(2))
        }
        _ => Err(complain(arguments, &message(&error))),
    }
}

/// Prints a usage error of the command that the arguments name.
pub(crate) fn complain(arguments: &[OsString], message: &str) -> ExitCode {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    let mut skip = true; // The name of the program.
    for argument in arguments {
        let text = argument.to_string_lossy();
        if std::mem::replace(&mut skip, text == "--log-level") || text.starts_with('-') {
            continue;
        }
        let Some(found) = command.find_subcommand(&*text) else { break };
        command = found;
    }
    let path = command.get_bin_name().unwrap_or("jmp").to_owned();
    let usage = command.clone().render_usage();
    output::complain(&format!("{usage}\nTry '{path} --help' for help.\n\nError: {message}"));
    ExitCode::from(2)
}

/// The error in the words of the other implementation, as far as it has any.
fn message(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => format!("No such option: {argument}"),
        ErrorKind::UnknownArgument => format!("Got unexpected extra argument ({argument})"),
        ErrorKind::InvalidSubcommand => {
            format!("No such command '{}'.", context(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::MissingRequiredArgument => format!("Missing option '{}'.", option(&argument)),
        ErrorKind::InvalidValue if value.is_empty() => format!("Option '{}' requires an argument.", option(&argument)),
        ErrorKind::InvalidValue => {
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(texts)) => texts.iter().map(|text| format!("'{text}'")).collect(),
                _ => Vec::new(),
            };
            format!("Invalid value for '{}': '{value}' is not one of {}.", option(&argument), valid.join(", "))
        }
        ErrorKind::ValueValidation => {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!("Invalid value for '{}': {source}", option(&argument))
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

/// `--label <LABEL>` without the value.
fn option(argument: &str) -> &str {
    argument.split([' ', '=', ',']).next().unwrap_or(argument)
}
