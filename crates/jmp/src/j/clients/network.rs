//! Networks.
use std::{io, os::unix::fs::PermissionsExt as _, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use jumpstarter_client::ClientError;
use tokio::net::{TcpListener, UnixListener};
use tonic::Code;

use super::Use;
use crate::{failure::Failure, output};

pub(super) fn commands() -> Vec<Command> {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    vec![
        Command::new("forward-tcp")
            .about("Forward local TCP port to remote network")
            .arg(Arg::new("address").long("address").default_value("localhost").help("Address to listen on"))
            .arg(
                Arg::new("PORT")
                    .required(true)
                    .value_parser(value_parser!(u16))
                    .help("TCP port to listen on; 0 takes a free one"),
            ),
        Command::new("forward-unix").about("Forward local Unix domain socket to remote network").arg(
            Arg::new("PATH")
                .value_parser(value_parser!(PathBuf))
                .help("Path of the socket to listen on; a new one under $XDG_RUNTIME_DIR otherwise"),
        ),
        Command::new("address")
            .about("Direct TCP connection to remote network")
            .arg(flag("host", "Print the host alone"))
            .arg(flag("port", "Print the port alone")),
    ]
}

pub(super) async fn run(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    match name {
        "forward-tcp" => {
            let address = matches.get_one::<String>("address").map(String::as_str).unwrap_or_default();
            let port = matches.get_one::<u16>("PORT").copied().unwrap_or_default();
            let failed = |error: io::Error| Failure::from_error(&format!("listen on {address}:{port}"), &error);
            let listener = TcpListener::bind((address, port)).await.map_err(failed)?;
            output::say(&listener.local_addr().map_err(failed)?.to_string());
            driver.session.forward_tcp(&listener, driver.path, "connect").await;
        }
        "forward-unix" => forward_unix(driver, matches.get_one::<PathBuf>("PATH")).await?,
        _ => {
            let told = match driver.session.call(driver.path, "address", &[]).await {
                Ok(told) => told,
                Err(error) => return Err(unknown_address(error)),
            };
            let address = told.as_str().unwrap_or_default();
            output::say(&shown(address, matches.get_flag("host"), matches.get_flag("port")));
        }
    }
    Ok(())
}

async fn forward_unix(driver: Use<'_>, path: Option<&PathBuf>) -> Result<(), Failure> {
    let failed = |what: &str, error: io::Error| Failure::from_error(&format!("listen on {what}"), &error);
    let (path, _dir) = match path {
        Some(path) => (path.clone(), None),
        None => {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
            let runtime = runtime.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
            let dir = tempfile::Builder::new()
                .prefix("jumpstarter-")
                .permissions(std::fs::Permissions::from_mode(0o700))
                .tempdir_in(&runtime)
                .map_err(|error| failed(&runtime.display().to_string(), error))?;
            (dir.path().join("socket"), Some(dir))
        }
    };
    let listener = UnixListener::bind(&path).map_err(|error| failed(&path.display().to_string(), error))?;
    let _removed_at_the_end = Removed(path.clone());
    output::say(&path.display().to_string());
    driver.session.forward_unix(&listener, driver.path, "connect").await;
    Ok(())
}

/// A socket that goes away with this value.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unknown_address(error: ClientError) -> Failure {
    match &error {
        ClientError::Exporter { status, .. } => match status.code() {
            Code::InvalidArgument => Failure::new(format!(
                "enable_address mode is not true in the exporter configuration: {}",
                status.message()
            )),
            Code::NotFound | Code::Unimplemented => {
                Failure::new("this driver has no address that could be connected to; use forward-tcp or forward-unix")
            }
            _ => error.into(),
        },
        _ => error.into(),
    }
}

/// The address without its scheme, or one of its parts.
fn shown(address: &str, host: bool, port: bool) -> String {
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    if host == port {
        return bare.to_owned();
    }
    let end = bare.rfind(']').map_or(0, |bracket| bracket + 1);
    let (name, number) = match bare[end..].rsplit_once(':') {
        Some((rest, number)) => (&bare[..end + rest.len()], number),
        None => (bare, ""),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if host { name.to_owned() } else { number.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses() {
        for (address, both, host, port) in [
            ("tcp://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1", "8080"),
            ("udp://[::1]:80", "[::1]:80", "::1", "80"),
            ("lab:22", "lab:22", "lab", "22"),
            ("lab", "lab", "lab", ""),
            ("[::1]", "[::1]", "::1", ""),
        ] {
            assert_eq!(shown(address, false, false), both);
            assert_eq!(shown(address, true, true), both);
            assert_eq!(shown(address, true, false), host);
            assert_eq!(shown(address, false, true), port);
        }
    }
}
