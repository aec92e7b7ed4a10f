//! Completion: the engine behind `jmp completion`, and the names that only the lab knows.
//!
//! The shells' scripts call this program with `_JMP_COMPLETE=SHELL_complete` and the words typed so far, in the form
//! that scripts of the other implementation use too: those that people have installed keep working.
use std::{ffi::OsString, time::Duration};

use clap::CommandFactory as _;
use clap_complete::engine::CompletionCandidate;
use jumpstarter_client::Client;
use jumpstarter_config::{ClientChoice, ConfigHome, Env};

use crate::{cli::Cli, output};

/// Somebody waits with a finger on the tab key.
const LIMIT: Duration = Duration::from_secs(3);

/// A shell that can complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

impl Shell {
    fn named(name: &str) -> Option<Self> {
        [("bash", Self::Bash), ("zsh", Self::Zsh), ("fish", Self::Fish)]
            .into_iter()
            .find_map(|(known, shell)| (known == name).then_some(shell))
    }

    /// The script that a shell reads at its start, for `program`.
    pub(crate) fn script(self, program: &str) -> String {
        let variable = format!("_{}_COMPLETE", program.to_uppercase());
        let template = match self {
            Self::Bash => include_str!("complete/bash.sh"),
            Self::Zsh => include_str!("complete/zsh.sh"),
            Self::Fish => include_str!("complete/fish.fish"),
        };
        template.replace("%PROGRAM%", program).replace("%VARIABLE%", &variable)
    }
}

/// Answers a shell when it asks; true when it did, and there is nothing else to do.
pub(crate) fn answered(program: &str) -> bool {
    let Ok(asked) = std::env::var(format!("_{}_COMPLETE", program.to_uppercase())) else { return false };
    let Some((shell, action)) = asked.split_once('_') else { return false };
    let Some(shell) = Shell::named(shell) else { return false };
    match action {
        "source" => output::write(&shell.script(program)),
        "complete" => candidates(shell, program),
        _ => return false,
    }
    true
}

/// Prints what may follow.
fn candidates(shell: Shell, program: &str) {
    let mut command = match program {
        "j" => crate::j::completion_command(),
        _ => Cli::command(),
    };
    let (words, index) = words(shell);
    let here = std::env::current_dir().ok();
    let Ok(found) = clap_complete::engine::complete(&mut command, words, index, here.as_deref()) else { return };
    let visible = found.iter().filter(|candidate| !candidate.is_hide_set());
    let mut text = String::new();
    for candidate in visible {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        let line = match shell {
            Shell::Zsh => format!("plain\n{value}\n{}\n", if help.is_empty() { "_" } else { help }),
            Shell::Fish if !help.is_empty() => format!("plain,{value}\t{help}\n"),
            Shell::Bash | Shell::Fish => format!("plain,{value}\n"),
        };
        text.push_str(&line);
    }
    output::write(&text);
}

/// The words typed, and which of them is to be completed.
fn words(shell: Shell) -> (Vec<OsString>, usize) {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let mut words: Vec<OsString> = split(&variable("COMP_WORDS")).into_iter().map(Into::into).collect();
    let index = if shell == Shell::Fish {
        // Fish hands over the word under the cursor by itself.
        let current = variable("COMP_CWORD");
        if words.last().is_none_or(|last| *last != *current) || current.is_empty() {
            words.push(current.into());
        }
        words.len() - 1
    } else {
        variable("COMP_CWORD").parse().unwrap_or(words.len().saturating_sub(1))
    };
    while words.len() <= index {
        words.push(OsString::new());
    }
    (words, index)
}

/// Words of a command line that may be unfinished: quotes and backslashes count.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// Aliases of client configs.
pub(crate) fn clients() -> Vec<CompletionCandidate> {
    let aliases = ConfigHome::resolve(&Env::from_process()).and_then(|home| home.client_aliases());
    aliases.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// Aliases of exporter configs.
pub(crate) fn exporter_configs() -> Vec<CompletionCandidate> {
    let aliases = ConfigHome::resolve(&Env::from_process()).and_then(|home| home.exporter_aliases());
    aliases.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// Names of the current client's leases.
pub(crate) fn leases() -> Vec<CompletionCandidate> {
    asked(async |client| {
        let mut found = client.list_leases(true).await.ok()?;
        found.retain(|lease| lease.client == client.name());
        let candidate = |lease: jumpstarter_client::Lease| {
            let help = lease.exporter.unwrap_or(lease.selector);
            CompletionCandidate::new(lease.name).help(Some(help.into()))
        };
        Some(found.into_iter().map(candidate).collect())
    })
}

/// Names of the lab's exporters.
pub(crate) fn exporters() -> Vec<CompletionCandidate> {
    asked(async |client| {
        let found = client.list_exporters("").await.ok()?;
        Some(found.into_iter().map(|exporter| CompletionCandidate::new(exporter.name)).collect())
    })
}

/// Asks the service of the current client. Without an answer there is nothing to complete: this is no place to complain.
fn asked(question: impl AsyncFnOnce(Client) -> Option<Vec<CompletionCandidate>>) -> Vec<CompletionCandidate> {
    let answer = async {
        let env = Env::from_process();
        let mut config = ConfigHome::resolve(&env).ok()?.select_client(&ClientChoice::Default, &env).ok()?;
        config.tls.insecure |= crate::values::insecure_tls(&env);
        question(Client::from_config(&config).await.ok()?).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime.ok().and_then(|runtime| {
        let found = runtime.block_on(async { tokio::time::timeout(LIMIT, answer).await.ok().flatten() });
        runtime.shutdown_background();
        found
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_unfinished_lines() {
        for (line, expected) in [
            ("", &[][..]),
            ("jmp get  lea", &["jmp", "get", "lea"]),
            (r#"jmp 'a b' "c\"d" e\ f"#, &["jmp", "a b", "c\"d", "e f"]),
            ("jmp 'open", &["jmp", "open"]),
            ("jmp '' x", &["jmp", "", "x"]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }
}
