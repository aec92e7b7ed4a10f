//! The program that runs in the shell: what it is, what it is told, how it ends.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitCode, ExitStatus},
};

use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    sync::watch,
};

use super::signals::tell;
use crate::{failure::Failure, output};

/// What the program is told through its environment; the names are those that every other tool reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Socket path or `host:port`.
    pub(super) host: OsString,
    /// Which driver clients may be loaded.
    pub(super) allow: String,
    /// Exporter and lease, where there are some.
    pub(super) exporter: Option<String>,
    /// Name of the lease.
    pub(super) lease: Option<String>,
    /// Labels of the exporter; none when they are not known.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// The host speaks no TLS.
    pub(super) insecure: bool,
    /// What the host wants to hear.
    pub(super) passphrase: Option<String>,
    /// What the prompt shows.
    pub(super) context: String,
    /// The user's shell profile is read.
    pub(super) use_profiles: bool,
}

impl Told {
    /// Runs `words`, or a shell without any, to its end. `child` has its process meanwhile, for signals.
    pub(super) async fn run(
        &self,
        words: &[OsString],
        child: &watch::Sender<Option<u32>>,
    ) -> Result<ExitCode, Failure> {
        let mut program = match self.spawn(words) {
            Ok(program) => program,
            Err(code) => return Ok(code),
        };
        child.send_replace(program.id());
        let status = program.wait().await.map_err(|error| Failure::from_error("wait for the command", &error));
        if status.is_err() {
            tell(*child.borrow(), Signal::TERM);
        }
        child.send_replace(None);
        Ok(exit_code(status?))
    }

    fn apply(&self, command: &mut Command) {
        command
            .env("JUMPSTARTER_HOST", &self.host)
            .env("JMP_DRIVERS_ALLOW", &self.allow)
            .env("_JMP_SUPPRESS_DRIVER_WARNINGS", "1");
        for (name, value) in
            [("JMP_EXPORTER", &self.exporter), ("JMP_LEASE", &self.lease), ("JMP_GRPC_PASSPHRASE", &self.passphrase)]
        {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if self.insecure {
            command.env("JMP_GRPC_INSECURE", "1");
        }
        match &self.labels {
            Some(labels) if !labels.is_empty() => {
                let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                command.env("JMP_EXPORTER_LABELS", labels.join(","));
            }
            // Those of an outer shell would be wrong.
            _ => drop(command.env_remove("JMP_EXPORTER_LABELS")),
        }
    }

    /// Starts `words`, or the user's shell. The error is told, with the exit code that shells have for it.
    pub(super) fn spawn(&self, words: &[OsString]) -> Result<Child, ExitCode> {
        let (program, arguments, more) = match words.split_first() {
            Some((program, arguments)) => (program.clone(), arguments.to_vec(), Vec::new()),
            None => {
                let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
                interactive(shell.unwrap_or_else(|| "bash".into()), &self.context, self.use_profiles)
            }
        };
        let mut command = Command::new(&program);
        command.args(arguments);
        self.apply(&mut command);
        for (name, value) in more {
            if name != "HISTFILE" || std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        let name = program.display();
        command.spawn().map_err(|error| {
            let (code, text) = match error.kind() {
                io::ErrorKind::NotFound => (127, format!("command not found: {name}")),
                io::ErrorKind::PermissionDenied => (126, format!("command not executable: {name}")),
                _ => (126, format!("run {name}: {error}")),
            };
            output::error(&text);
            ExitCode::from(code)
        })
    }
}

type Interactive = (OsString, Vec<OsString>, Vec<(&'static str, OsString)>);

/// A shell with a prompt that says where it leads: program, arguments, variables.
fn interactive(shell: OsString, context: &str, use_profiles: bool) -> Interactive {
    let name = Path::new(&shell).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    if name.ends_with("bash") {
        let prompt = format!(r"\[\e[90m\]\W \[\e[93m\]⚡\[\e[97m\]{context} \[\e[93m\]➤\[\e[0m\] ");
        let arguments = if use_profiles { Vec::new() } else { words(&["--norc", "--noprofile"]) };
        return (shell, arguments, vec![("PS1", prompt.into())]);
    }
    if name == "zsh" {
        let prompt = format!("%F{{8}}%1~ %F{{yellow}}⚡%F{{white}}{context} %F{{yellow}}➤%f ");
        let mut arguments = if use_profiles { Vec::new() } else { words(&["--no-rcs"]) };
        arguments.extend(words(&["-o", "inc_append_history", "-o", "share_history"]));
        let mut more = vec![("PS1", prompt.into())];
        if let Some(home) = std::env::var_os("HOME") {
            more.push(("HISTFILE", Path::new(&home).join(".zsh_history").into()));
        }
        return (shell, arguments, more);
    }
    if name == "fish" {
        let quoted = context.replace('\\', "\\\\").replace('\'', "\\'");
        let prompt = format!(
            "function fish_prompt; set_color grey; printf '%s' (basename $PWD); set_color yellow; printf ' ⚡'; \
             set_color white; printf '%s' '{quoted}'; set_color yellow; printf ' ➤ '; set_color normal; end"
        );
        return (shell, words(&["--init-command", &prompt]), Vec::new());
    }
    (shell, Vec::new(), Vec::new())
}

/// The program's own code, or 128 + n when signal n ended it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_and_their_prompts() {
        let arguments = |shell: &str, profiles| {
            let (program, arguments, more) = interactive(shell.into(), "dut", profiles);
            assert_eq!(program, shell);
            let prompt =
                more.iter().find(|(name, _)| *name == "PS1").map(|(_, value)| value.to_string_lossy().into_owned());
            let shown = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
            (shown, prompt.unwrap_or_default())
        };
        let (bash, prompt) = arguments("/bin/bash", false);
        assert_eq!(bash, "--norc --noprofile");
        assert_eq!(prompt, r"\[\e[90m\]\W \[\e[93m\]⚡\[\e[97m\]dut \[\e[93m\]➤\[\e[0m\] ");
        assert_eq!(arguments("bash", true).0, "");
        let (zsh, prompt) = arguments("/usr/bin/zsh", false);
        assert_eq!(zsh, "--no-rcs -o inc_append_history -o share_history");
        assert_eq!(prompt, "%F{8}%1~ %F{yellow}⚡%F{white}dut %F{yellow}➤%f ");
        assert_eq!(arguments("zsh", true).0, "-o inc_append_history -o share_history");
        assert!(arguments("fish", false).0.starts_with("--init-command function fish_prompt"));
        assert_eq!(arguments("/bin/dash", false), (String::new(), String::new()));
    }
}
