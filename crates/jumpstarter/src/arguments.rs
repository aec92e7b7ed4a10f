//! The command line as today's deployments write it: entry points `/manager` and `/router`, flags in Go's syntax.

use std::{ffi::OsString, path::Path};

/// What became of a command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// For the parser.
    pub(crate) line: Vec<OsString>,
    /// Flags that mean nothing here and were left out.
    pub(crate) ignored: Vec<String>,
}

/// Flags of the Go logger that take a value as the next argument, when it is not behind `=`.
const LOGGER_PREFIX: &str = "zap-";
/// Those that we know; the rest of the logger's flags is left out.
const KNOWN_LOGGER_FLAGS: [&str; 5] =
    ["zap-devel", "zap-encoder", "zap-log-level", "zap-stacktrace-level", "zap-time-encoding"];

/// Chooses the command by the program's name, and turns flags with one dash into flags with two where Go programs are
/// replaced: behind `controller` and `router`.
pub(crate) fn normalise(line: impl IntoIterator<Item = OsString>) -> Arguments {
    let mut line: Vec<OsString> = line.into_iter().collect();
    let entry = line.first().and_then(|program| Path::new(program).file_name()?.to_str().map(str::to_owned));
    match entry.as_deref() {
        Some("manager") => line.insert(1, "controller".into()),
        Some("router") => line.insert(1, "router".into()),
        _ => {}
    }
    let Some(command) = line.iter().position(|argument| *argument == "controller" || *argument == "router") else {
        return Arguments { line, ignored: Vec::new() };
    };
    // Another command before it means that this is an argument of that one.
    if line.iter().take(command).skip(1).any(|argument| !argument.to_string_lossy().starts_with('-')) {
        return Arguments { line, ignored: Vec::new() };
    }
    let rest = line.split_off(command + 1);
    let mut ignored = Vec::new();
    let mut rest = rest.into_iter().peekable();
    while let Some(argument) = rest.next() {
        let Some(flag) = long_flag(&argument) else {
            line.push(argument);
            continue;
        };
        let name = flag.split('=').next().unwrap_or_default();
        if name.starts_with(LOGGER_PREFIX) && !KNOWN_LOGGER_FLAGS.contains(&name) {
            let value_follows =
                !flag.contains('=') && rest.peek().is_some_and(|next| !next.to_string_lossy().starts_with('-'));
            if value_follows {
                rest.next();
            }
            ignored.push(format!("--{name}"));
            continue;
        }
        line.push(format!("--{flag}").into());
    }
    Arguments { line, ignored }
}

/// What is behind the dashes of `-flag` or `--flag`; `None` for values, `-h` and the like, and `--`.
fn long_flag(argument: &OsString) -> Option<String> {
    let text = argument.to_str()?;
    let flag = text.strip_prefix("--").or_else(|| text.strip_prefix('-').filter(|flag| flag.len() > 1))?;
    flag.starts_with(|first: char| first.is_ascii_alphabetic()).then(|| flag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, expected: &str, ignored: &[&str]) {
        let arguments = normalise(written.split(' ').map(OsString::from));
        let line: Vec<_> = arguments.line.iter().map(|part| part.to_str().unwrap()).collect();
        assert_eq!(line.join(" "), expected);
        assert_eq!(arguments.ignored, ignored);
    }

    #[test]
    fn todays_deployments_are_understood() {
        check(
            "/manager --leader-elect --health-probe-bind-address=:8081 -metrics-bind-address=:8080",
            "/manager controller --leader-elect --health-probe-bind-address=:8081 --metrics-bind-address=:8080",
            &[],
        );
        check("/router", "/router router", &[]);
        check("jumpstarter controller -kubeconfig /a -h", "jumpstarter controller --kubeconfig /a -h", &[]);
        check("jumpstarter --log info controller -zap-devel", "jumpstarter --log info controller -zap-devel", &[]);
        check("jumpstarter --log=info controller -zap-devel", "jumpstarter --log=info controller --zap-devel", &[]);
    }

    #[test]
    fn unknown_flags_of_the_logger_are_left_out() {
        check(
            "/manager -zap-colour red --zap-x=1 -zap-y -leader-elect",
            "/manager controller --leader-elect",
            &["--zap-colour", "--zap-x", "--zap-y"],
        );
    }

    #[test]
    fn other_commands_are_left_alone() {
        check("jumpstarter serve -x router", "jumpstarter serve -x router", &[]);
        check("jumpstarter backup controller", "jumpstarter backup controller", &[]);
        check("jumpstarter", "jumpstarter", &[]);
    }
}
