//! The tree of drivers as a tree of commands.
use std::{ffi::OsString, fmt::Write as _, process::ExitCode};

use clap::{ArgMatches, Command};
use futures::future::{FutureExt as _, LocalBoxFuture, try_join_all};
use jumpstarter_client::{DriverNode, Report, Session};

use super::{
    call,
    clients::{Client, Use, ssh},
};
use crate::failure::Failure;

/// A driver and those below it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    node: DriverNode,
    client: Client,
    children: Vec<Tree>,
}

impl Tree {
    /// Asks the exporter what it has.
    pub(super) async fn fetch(session: &Session) -> Result<Self, Failure> {
        let report = session.report().await?;
        let mut tree = Self::from_report(report)?;
        tree.learn(session).await?;
        Ok(tree)
    }

    /// The tree of a report: the root is the node without a path.
    fn from_report(report: &Report) -> Result<Self, Failure> {
        let root = report.drivers.iter().find(|node| node.path.is_empty());
        let root = root.ok_or_else(|| Failure::new("the exporter reports no drivers"))?;
        Ok(Self::below(root, report))
    }

    fn below(node: &DriverNode, report: &Report) -> Self {
        let is_child = |other: &&DriverNode| {
            !other.path.is_empty()
                && match other.path.rsplit_once('.') {
                    Some((parent, _)) => parent == node.path,
                    None => node.path.is_empty(),
                }
        };
        Self {
            node: node.clone(),
            client: Client::of_class(&node.client),
            children: report.drivers.iter().filter(is_child).map(|child| Self::below(child, report)).collect(),
        }
    }

    /// Some drivers tell their commands only when asked.
    fn learn<'a>(&'a mut self, session: &'a Session) -> LocalBoxFuture<'a, Result<(), Failure>> {
        async move {
            self.client.learn(session, &self.node.path).await?;
            try_join_all(self.children.iter_mut().map(|child| child.learn(session))).await?;
            Ok(())
        }
        .boxed_local()
    }

    fn name(&self) -> &str {
        let path = self.node.path.as_str();
        path.rsplit_once('.').map_or(path, |(_, name)| name)
    }

    fn about(&self) -> String {
        self.node.description.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| self.client.about().to_owned())
    }

    /// The commands of the whole tree.
    pub(super) fn command(&self) -> Command {
        let level = clap::Arg::new("log_level")
            .long("log-level")
            .value_name("LEVEL")
            .global(true)
            .help("Which log lines to show: DEBUG, INFO, WARNING, ERROR or CRITICAL");
        let shown = format!("Drivers:\n{}", self.outline(0));
        self.subcommand("j").disable_version_flag(true).arg(level).after_help(shown.trim_end().to_owned())
    }

    fn subcommand(&self, name: &str) -> Command {
        if self.client == Client::Ssh {
            return ssh::command(name).about(super::harmless(&self.about()));
        }
        let mut command = Command::new(name.to_owned())
            .about(super::harmless(&self.about()))
            .disable_help_subcommand(true)
            .subcommand_required(true)
            .arg_required_else_help(true);
        for child in &self.children {
            command = command.subcommand(child.subcommand(child.name()));
        }
        let taken = |name: &str| self.children.iter().any(|child| child.name() == name);
        for own in self.client.commands(&self.node).into_iter().chain([call::command()]) {
            if !taken(own.get_name()) {
                command = command.subcommand(own);
            }
        }
        command
    }

    /// One line a driver, children indented: name, class of its client, description.
    fn outline(&self, depth: usize) -> String {
        let mut text = String::new();
        for child in &self.children {
            let class = child.node.client.rsplit('.').next().unwrap_or_default();
            let label = format!("{}{}", "  ".repeat(depth + 1), child.name());
            let about = super::harmless(&child.about()).lines().next().unwrap_or_default().to_owned();
            let _ = writeln!(text, "{label:<24} {class:<24} {about}");
            for (method, help) in &child.node.methods_description {
                let help = super::harmless(help).lines().next().unwrap_or_default().to_owned();
                let _ = writeln!(text, "{}{method}: {help}", "  ".repeat(depth + 3));
            }
            text.push_str(&child.outline(depth + 1));
        }
        text
    }

    /// `j a.b call …` means `j a b call …`: paths are written with dots elsewhere.
    pub(super) fn undotted(&self, words: Vec<OsString>) -> Vec<OsString> {
        let dotted = words.get(1).and_then(|word| word.to_str()).filter(|word| word.contains('.') && self.has(word));
        let Some(parts) = dotted.map(|word| word.split('.').map(OsString::from).collect::<Vec<_>>()) else {
            return words;
        };
        let mut words = words;
        words.splice(1..2, parts);
        words
    }

    fn has(&self, path: &str) -> bool {
        self.children.iter().any(|child| child.node.path == path || child.has(path))
    }

    /// Does what the matches say.
    pub(super) fn run<'a>(
        &'a self,
        session: &'a Session,
        matches: &'a ArgMatches,
    ) -> LocalBoxFuture<'a, Result<ExitCode, Failure>> {
        async move {
            let driver = Use { session, path: &self.node.path };
            if self.client == Client::Ssh {
                return ssh::run(driver, matches).await;
            }
            let Some((name, matches)) = matches.subcommand() else {
                return Err(Failure::new("no command was given"));
            };
            if let Some(child) = self.children.iter().find(|child| child.name() == name) {
                return child.run(session, matches).await;
            }
            if name == call::NAME {
                call::run(driver, matches).await
            } else {
                self.client.run(driver, name, matches).await
            }
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn node(path: &str, class: &str) -> DriverNode {
        DriverNode {
            path: path.to_owned(),
            uuid: String::new(),
            client: class.to_owned(),
            labels: BTreeMap::new(),
            description: None,
            methods_description: BTreeMap::new(),
        }
    }

    fn tree() -> Tree {
        const COMPOSITE: &str = "jumpstarter_driver_composite.client.CompositeClient";
        let drivers = vec![
            node("", COMPOSITE),
            node("dut", COMPOSITE),
            node("dut.power", "jumpstarter_driver_power.client.PowerClient"),
            node("dut.console", "jumpstarter_driver_pyserial.client.PySerialClient"),
            node("echo", "jumpstarter_driver_network.client.NetworkClient"),
            node("odd", "somebody.client.OddClient"),
            node("ssh", "jumpstarter_driver_ssh.client.SSHWrapperClient"),
            node("ssh.tcp", "jumpstarter_driver_network.client.NetworkClient"),
            node("vm", "jumpstarter_driver_qemu.client.QemuClient"),
            node("vm.flasher", "jumpstarter_driver_qemu.client.QemuFlasherClient"),
            node("storage", "jumpstarter_driver_opendal.client.OpendalClient"),
        ];
        Tree::from_report(&Report { drivers, ..Report::default() }).unwrap()
    }

    fn names(command: &Command) -> Vec<String> {
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect()
    }

    #[test]
    fn drivers_become_commands() {
        let command = tree().command();
        assert_eq!(names(&command), ["dut", "echo", "odd", "ssh", "vm", "storage", "call"]);
        let dut = command.find_subcommand("dut").unwrap();
        assert_eq!(names(dut), ["power", "console", "call"]);
        assert_eq!(names(dut.find_subcommand("power").unwrap()), ["on", "off", "cycle", "read", "call"]);
        assert_eq!(names(command.find_subcommand("odd").unwrap()), ["call"]);
        assert_eq!(names(command.find_subcommand("vm").unwrap()), ["flasher", "resize", "call"]);
        assert_eq!(names(command.find_subcommand("ssh").unwrap()), [""; 0]);
        let matches = command.clone().get_matches_from(["j", "ssh", "-v", "-l", "root", "ls", "--direct", "-h"]);
        let words: Vec<_> = matches.subcommand_matches("ssh").unwrap().get_many::<String>("ARGS").unwrap().collect();
        assert_eq!(words, ["-v", "-l", "root", "ls", "--direct", "-h"]);
        command.debug_assert();
    }

    #[test]
    fn paths_may_have_dots() {
        let words = |words: &[&str]| tree().undotted(words.iter().map(OsString::from).collect());
        assert_eq!(words(&["j", "dut.power", "on"]), ["j", "dut", "power", "on"]);
        assert_eq!(words(&["j", "dut.fan", "on"]), ["j", "dut.fan", "on"]);
        assert_eq!(words(&["j"]), ["j"]);
    }

    #[test]
    fn help_shows_the_tree() {
        insta::assert_snapshot!(tree().command().render_help());
    }
}
