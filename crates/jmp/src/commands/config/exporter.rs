//! `jmp config exporter`.
use std::{ffi::OsString, process::Command};

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_config::{ConfigHome, Env, ExporterConfig};

use super::new::{Listed, New};
use crate::{
    commands::admin::saved,
    complete,
    failure::{Failure, chain},
    listing::configs,
    output::{self, PathArgs},
};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum ExporterCommand {
    /// Create an exporter config.
    Create(Box<Create>),
    /// Delete an exporter config.
    Delete {
        #[command(flatten)]
        which: Named,
        #[command(flatten)]
        shown: PathArgs,
    },
    /// Open an exporter config in $VISUAL or $EDITOR.
    Edit(Named),
    /// List the exporter configs.
    List(Listed),
}

/// An exporter config, by its alias.
#[derive(Args)]
pub(crate) struct Named {
    /// Alias of the exporter config.
    #[arg(default_value = "default", value_parser = alias, add = ArgValueCandidates::new(complete::exporter_configs))]
    alias: String,
}

/// Options of `create`. What is left out is asked for.
#[derive(Args)]
pub(crate) struct Create {
    /// Alias of the new exporter config.
    #[arg(default_value = "default", value_parser = alias)]
    alias: String,
    #[command(flatten)]
    new: New,
}

/// Does it.
pub(super) fn run(command: ExporterCommand) -> Result<(), Failure> {
    let home = saved::home()?;
    match command {
        ExporterCommand::Create(args) => create(&home, *args),
        ExporterCommand::Delete { which, shown } => delete(&home, &which.alias, shown),
        ExporterCommand::Edit(which) => edit(&home, &which.alias),
        ExporterCommand::List(Listed { output }) => {
            let mut found = Vec::new();
            for alias in home.exporter_aliases()? {
                match home.load_exporter(&alias, &Env::empty()) {
                    Ok(config) => found.push(config),
                    // One bad file must not hide the others.
                    Err(error) => output::warn(&chain(&error)),
                }
            }
            let view = configs::exporters(&found)?;
            output::write(&output::rendered(&view, output.map(Into::into))?);
            Ok(())
        }
    }
}

fn alias(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\\', '\0']) {
        return Err(format!("'{text}' cannot be an alias: it must be a plain file name"));
    }
    Ok(text.to_owned())
}

fn create(home: &ConfigHome, args: Create) -> Result<(), Failure> {
    if home.exporter_path(&args.alias)?.exists() {
        return Err(Failure::new(format!("exporter \"{}\" exists", args.alias)));
    }
    let answers = args.new.answers("exporter")?;
    let insecure = args.new.insecure()?;
    let mut config = ExporterConfig::new(args.alias, answers.metadata);
    config.endpoint = Some(answers.endpoint);
    config.token = Some(answers.token);
    config.tls.insecure = insecure;
    let path = home.save_exporter(&config)?;
    args.new.shown.say(&path);
    Ok(())
}

fn delete(home: &ConfigHome, alias: &str, shown: PathArgs) -> Result<(), Failure> {
    let (user, found) = (home.exporter_path(alias)?, home.find_exporter(alias)?);
    if !found.exists() {
        return Err(unknown(alias));
    }
    if user != found {
        return Err(Failure::new(format!(
            "exporter \"{alias}\" is a config of the system: {} is not deleted; remove it as an administrator",
            found.display()
        )));
    }
    home.delete_exporter(alias)?;
    shown.say(&user);
    let left = home.find_exporter(alias)?;
    if left.exists() {
        output::warn(&format!(
            "{} deleted, but a system config at {} still exists and will now be used.",
            user.display(),
            left.display()
        ));
    }
    Ok(())
}

fn edit(home: &ConfigHome, alias: &str) -> Result<(), Failure> {
    let path = home.find_exporter(alias)?;
    if !path.exists() {
        return Err(unknown(alias));
    }
    let named = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".into());
    // The variable may hold arguments, as every program that reads it allows.
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("exec $0 \"$1\"").arg(&editor).arg(&path);
    let shown = editor.to_string_lossy().into_owned();
    let status = command.status().map_err(|error| Failure::from_error(&format!("start {shown}"), &error))?;
    if !status.success() {
        return Err(Failure::new(format!(
            "{shown}: editing failed ({status}); set VISUAL or EDITOR to another editor"
        )));
    }
    // Better now than when the exporter is started.
    home.load_exporter(alias, &Env::empty())?;
    Ok(())
}

fn unknown(alias: &str) -> Failure {
    Failure::new(format!("exporter \"{alias}\" does not exist; `jmp config exporter list` shows those that do"))
}
