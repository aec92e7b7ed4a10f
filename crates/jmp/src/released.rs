//! The command tree beside that of the released client: every command, alias, option and choice that it has is here.
use std::{collections::BTreeMap, fmt::Write as _, process};

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use jumpstarter_peers::NEWEST;
use serde::Deserialize;

use crate::cli::Cli;

/// Prints the released client's own description of itself.
const SCRIPT: &str = r#"
import click, json
from jumpstarter_cli.jmp import jmp

def describe(command, path, found):
    entry = {"options": [], "arguments": [], "aliases": {}}
    for param in command.params:
        if isinstance(param, click.Option):
            entry["options"].append({
                "names": param.opts + param.secondary_opts,
                "flag": param.is_flag,
                "required": param.required,
                "multiple": param.multiple,
                "choices": list(getattr(param.type, "choices", [])),
            })
        else:
            entry["arguments"].append({"required": param.required, "many": param.nargs == -1})
    found[" ".join(path)] = entry
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        names = command.list_commands(context)
        for words in getattr(command, "common_aliases", {}).values():
            for word in words:
                try:
                    target = command.get_command(context, word)
                except click.UsageError:
                    continue
                if word not in names and target is not None:
                    entry["aliases"][word] = target.name
        for name in names:
            describe(command.get_command(context, name), path + [name], found)

found = {}
describe(jmp, ["jmp"], found)
print(json.dumps(found))
"#;

/// Commands that are refused with a text of their own, whatever stands behind them.
const REFUSED: [&str; 6] = [
    "jmp admin create cluster",
    "jmp admin delete cluster",
    "jmp admin get cluster",
    "jmp admin get clusters",
    "jmp mcp",
    "jmp mcp serve",
];

#[derive(Deserialize)]
struct Described {
    options: Vec<Opt>,
    arguments: Vec<Positional>,
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Opt {
    names: Vec<String>,
    flag: bool,
    required: bool,
    multiple: bool,
    choices: Vec<String>,
}

#[derive(Deserialize)]
struct Positional {
    required: bool,
    many: bool,
}

fn released() -> BTreeMap<String, Described> {
    let python = NEWEST.find().unwrap_or_else(|missing| panic!("{missing}")).program("python");
    let home = tempfile::tempdir().unwrap();
    let mut command = process::Command::new(python);
    command.args(["-c", SCRIPT]).env("HOME", home.path()).env("JMP_CLIENT_CONFIG_HOME", home.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The command of ours that answers to the words.
fn ours<'a>(root: &'a Command, path: &str) -> Option<&'a Command> {
    path.split(' ').skip(1).try_fold(root, |command, word| command.find_subcommand(word))
}

fn named<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| match name.strip_prefix("--") {
        Some(long) => argument.get_long_and_visible_aliases().is_some_and(|all| all.contains(&long)),
        None => argument.get_short().is_some_and(|short| name == format!("-{short}")),
    })
}

/// What is different about an option, or missing.
fn compare(command: &Command, theirs: &Opt, found: &mut Vec<String>) {
    for name in &theirs.names {
        let Some(argument) = named(command, name) else {
            found.push(format!("no {name}"));
            continue;
        };
        if argument.get_action().takes_values() == theirs.flag {
            found.push(format!("{name} takes a value: {}", theirs.flag));
        }
        if argument.is_required_set() && !theirs.required {
            found.push(format!("{name} is required"));
        }
        if theirs.multiple && !matches!(argument.get_action(), ArgAction::Append) {
            found.push(format!("{name} cannot be repeated"));
        }
        let choices: Vec<_> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let missing = theirs.choices.iter().filter(|choice| !choices.is_empty() && !choices.contains(choice));
        found.extend(missing.map(|choice| format!("{name} does not take {choice}")));
        if choices.is_empty() && !theirs.choices.is_empty() {
            found.push(format!("{name} takes anything"));
        }
    }
}

#[test]
fn all_that_the_released_client_has_is_here() {
    let root = Cli::command();
    let mut different = Vec::new();
    let theirs = released();
    assert!(theirs.len() > 40, "the released client was read");
    for (path, theirs) in &theirs {
        if path == "jmp mcp serve" {
            continue;
        }
        let Some(command) = ours(&root, path) else {
            different.push(format!("{path}: missing"));
            continue;
        };
        for (alias, target) in &theirs.aliases {
            let same = command.find_subcommand(alias).zip(command.find_subcommand(target));
            if same.is_none_or(|(alias, target)| alias.get_name() != target.get_name()) {
                different.push(format!("{path}: '{alias}' is not '{target}'"));
            }
        }
        if REFUSED.contains(&path.as_str()) {
            continue;
        }
        let mut found = Vec::new();
        for option in theirs.options.iter().filter(|option| option.names != ["--help"]) {
            compare(command, option, &mut found);
        }
        let positionals: Vec<_> = command.get_positionals().collect();
        if positionals.len() != theirs.arguments.len() {
            found.push(format!("{} arguments, not {}", positionals.len(), theirs.arguments.len()));
        }
        for (mine, theirs) in positionals.iter().zip(&theirs.arguments) {
            if mine.is_required_set() && !theirs.required {
                found.push(format!("{} is required", mine.get_id()));
            }
            if theirs.many && mine.get_num_args().is_some_and(|range| range.max_values() == 1) {
                found.push(format!("{} takes one word only", mine.get_id()));
            }
        }
        different.extend(found.into_iter().map(|text| format!("{path}: {text}")));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// The help of every command: what people and scripts read.
#[test]
fn helps() {
    fn write(command: &mut Command, path: &str, out: &mut String) {
        writeln!(out, "$ {path} --help\n{}", command.render_help()).unwrap();
        let names: Vec<_> = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(|command| command.get_name().to_owned())
            .collect();
        for name in names {
            let below = command.find_subcommand_mut(&name).unwrap();
            write(below, &format!("{path} {name}"), out);
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut all = String::new();
    write(&mut root, "jmp", &mut all);
    // The crate that draws them pads lines.
    let all: String = all.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    insta::assert_snapshot!(all);
}

/// Refused commands say so, whatever stands behind them.
#[test]
fn refused_commands_are_told_apart_from_misspelt_ones() {
    use clap::Parser as _;
    for words in REFUSED.map(|path| format!("{path} --kind name -o json")) {
        let cli = Cli::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{words}: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let Err(crate::failure::Failure::Failed(text)) = runtime.block_on(cli.command.run()) else { panic!("{words}") };
        assert!(text.starts_with("this program "), "{words}: {text}");
    }
}
