//! Usage errors in the words that scripts and people know: usage line, hint, blank line, error; exit code 2.

use std::{ffi::OsString, process::ExitCode};

use clap::{
    Arg, Command, CommandFactory as _, Parser as _,
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
        _ => {
            let command = named(&Cli::command(), arguments);
            Err(print(&command, &message(&command, &error)))
        }
    }
}

/// Prints a usage error of the command that the arguments name.
pub(crate) fn complain(arguments: &[OsString], message: &str) -> ExitCode {
    print(&named(&Cli::command(), arguments), message)
}

pub(crate) fn print(command: &Command, message: &str) -> ExitCode {
    let path = command.get_bin_name().unwrap_or("jmp");
    let usage = if command.has_subcommands() {
        " COMMAND [ARGS]...".to_owned()
    } else {
        command.get_positionals().map(positional).collect()
    };
    output::complain(&format!("Usage: {path} [OPTIONS]{usage}\nTry '{path} --help' for help.\n\nError: {message}"));
    ExitCode::from(2)
}

fn positional(argument: &Arg) -> String {
    let name = argument.get_id().as_str().to_uppercase();
    let many = if argument.get_num_args().is_some_and(|range| range.max_values() > 1) { "..." } else { "" };
    if argument.is_required_set() { format!(" {name}{many}") } else { format!(" [{name}]{many}") }
}

/// The command below `root` that the arguments name, as far as they name one.
pub(crate) fn named(root: &Command, arguments: &[OsString]) -> Command {
    let mut root = root.clone();
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
    command.clone()
}

/// The error in the words of the other implementation, as far as it has any.
pub(crate) fn message(command: &Command, error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => format!("No such option '{argument}'."),
        ErrorKind::UnknownArgument => format!("Got unexpected extra argument ({argument})"),
        ErrorKind::InvalidSubcommand => {
            format!("No such command '{}'.", context(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::MissingRequiredArgument if argument.starts_with('-') => {
            format!("Missing option {}.", option(command, &argument))
        }
        ErrorKind::MissingRequiredArgument => format!("Missing argument '{}'.", argument.trim_matches(['<', '>'])),
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("Option {} requires an argument.", option(command, &argument))
        }
        ErrorKind::InvalidValue => {
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(texts)) => texts.iter().map(|text| format!("'{text}'")).collect(),
                _ => Vec::new(),
            };
            let option = option(command, &argument);
            format!("Invalid value for {option}: '{value}' is not one of {}.", valid.join(", "))
        }
        ErrorKind::ValueValidation => {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!("Invalid value for {}: {source}", option(command, &argument))
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

/// `--label <KEY=VALUE>` as `'-l' / '--label'`.
fn option(command: &Command, argument: &str) -> String {
    let long = argument.split([' ', '=', ',']).next().unwrap_or(argument);
    let short = command
        .get_arguments()
        .find(|known| known.get_long().is_some_and(|name| long.strip_prefix("--") == Some(name)))
        .and_then(Arg::get_short);
    short.map_or_else(|| format!("'{long}'"), |short| format!("'-{short}' / '{long}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
