//! SSH: the user's own `ssh`, led to the device by a port of this machine.
use std::{
    io::{ErrorKind, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command};
use jumpstarter_client::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use super::Use;
use crate::{failure::Failure, output};

/// The code of shells for a program that is not there.
const NOT_FOUND: u8 = 127;
/// Where `ssh` connects to without being told.
const PORT: u16 = 22;
/// Options of `ssh` that stand alone.
const FLAGS: &str = "46AaCfGgKkMNnqsTtVvXxYy";
/// Options of `ssh` that a value follows.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// The whole driver is one command.
pub(in crate::j) fn command(name: &str) -> Command {
    Command::new(name.to_owned())
        .override_usage(format!("{name} [--direct] [SSH OPTIONS] [COMMAND...]"))
        .arg(
            Arg::new("direct")
                .long("direct")
                .action(ArgAction::SetTrue)
                .help("Connect to the device's own address instead of a port of this machine"),
        )
        .arg(
            Arg::new("ARGS")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("Options of ssh, then the command to run; a shell without one"),
        )
}

/// Runs `ssh`; its exit code is ours.
pub(in crate::j) async fn run(driver: Use<'_>, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let words: Vec<String> = matches.get_many("ARGS").into_iter().flatten().cloned().collect();
    let (options, remote, direct) = separate(&words);
    let text = |value: Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let login = Login {
        program: text(driver.call("get_ssh_command", &[]).await?),
        user: text(driver.call("get_default_username", &[]).await?),
        identity: text(driver.call("get_ssh_identity", &[]).await?),
        options,
        remote,
    };
    let tcp = format!("{}.tcp", driver.path);
    if direct || matches.get_flag("direct") {
        match address(driver, &tcp).await {
            Ok((host, port)) => return login.ssh(&host, port).await,
            Err(why) => output::complain(&format!("no direct connection ({why}): going through the exporter")),
        }
    }
    let failed = |error| Failure::from_error("listen on a port of this machine", &error);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    tokio::select! {
        code = login.ssh("127.0.0.1", port) => code,
        () = driver.session.forward_tcp(&listener, &tcp, "connect") => {
            Err(Failure::new("the port that leads to the device was closed"))
        }
    }
}

/// Who logs in, how, and what for.
struct Login {
    program: String,
    user: String,
    /// A private key; empty: the user's own.
    identity: String,
    options: Vec<String>,
    remote: Vec<String>,
}

impl Login {
    async fn ssh(&self, host: &str, port: u16) -> Result<ExitCode, Failure> {
        let words = shlex::split(&self.program).filter(|words| !words.is_empty());
        let words =
            words.ok_or_else(|| Failure::new(format!("the driver's ssh_command is no command: {}", self.program)))?;
        let key = self.key()?;
        let mut command = tokio::process::Command::new(&words[0]);
        command.args(&words[1..]).kill_on_drop(true);
        if let Some(key) = &key {
            command.arg("-i").arg(key.path());
        }
        if port != PORT {
            command.arg("-p").arg(port.to_string());
        }
        if !self.user.is_empty() && !names_user(&self.options) {
            command.args(["-l", &self.user]);
        }
        command.args(&self.options).arg(host).args(&self.remote);
        let status = match command.status().await {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                output::complain(&format!(
                    "{} is not on the PATH: install it (`apt install openssh-client`)",
                    words[0]
                ));
                return Ok(ExitCode::from(NOT_FOUND));
            }
            Err(error) => return Err(Failure::from_error(&format!("start {}", words[0]), &error)),
        };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)))
    }

    /// The driver's key in a file that only we can read, for as long as it is needed.
    fn key(&self) -> Result<Option<NamedTempFile>, Failure> {
        if self.identity.is_empty() {
            return Ok(None);
        }
        let failed = |error| Failure::from_error("write the key to a temporary file", &error);
        let mut file = tempfile::Builder::new().suffix("_ssh_key").tempfile().map_err(failed)?;
        file.write_all(self.identity.as_bytes()).map_err(failed)?;
        if !self.identity.ends_with('\n') {
            // Else OpenSSH takes it for a broken one.
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok(Some(file))
    }
}

/// Host and port that the device has without us.
async fn address(driver: Use<'_>, tcp: &str) -> Result<(String, u16), String> {
    let told = driver.session.call(tcp, "address", &[]).await.map_err(|error| error.to_string())?;
    let address = told.as_str().unwrap_or_default();
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    let parts = bare.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port != 0 => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => Err(format!("'{address}' is no address")),
    }
}

/// Options of `ssh`, the command for the device, and whether `--direct` stood among the options.
fn separate(words: &[String]) -> (Vec<String>, Vec<String>, bool) {
    let (mut options, mut direct) = (Vec::new(), false);
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.peek() {
        let flag = match word.strip_prefix('-') {
            _ if *word == "--direct" => {
                direct = true;
                rest.next();
                continue;
            }
            Some(flag) if flag.len() == 1 && (FLAGS.contains(flag) || WITH_VALUE.contains(flag)) => flag,
            _ => break,
        };
        let takes_value = WITH_VALUE.contains(flag);
        options.extend(rest.next().cloned());
        if takes_value && rest.peek().is_some_and(|value| !value.starts_with('-')) {
            options.extend(rest.next().cloned());
        }
    }
    (options, rest.cloned().collect(), direct)
}

fn names_user(options: &[String]) -> bool {
    options.iter().position(|option| option == "-l").is_some_and(|index| index + 1 < options.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_from_the_command() {
        for (words, options, remote, direct) in [
            ("", "", "", false),
            ("ls -l -a", "", "ls -l -a", false),
            ("-v -l root ls -l", "-v -l root", "ls -l", false),
            ("-v --direct -o A=b uname --direct", "-v -o A=b", "uname --direct", true),
            ("-L -v x", "-L -v", "x", false),
            ("-lroot x", "", "-lroot x", false),
            ("--unknown x", "", "--unknown x", false),
            ("-p", "-p", "", false),
        ] {
            let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(separate(&split(words)), (split(options), split(remote), direct), "{words}");
        }
        let options = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(names_user(&options("-v -l root")) && !names_user(&options("-v -l")) && !names_user(&options("-v")));
    }
}
