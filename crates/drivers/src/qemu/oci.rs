//! Disk images from container registries, fetched by the tool `fls`.
use std::{
    collections::HashMap,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{DriverError, DriverLog, ValueStream, process::Groups, shell::run::Command};

use super::{
    config::{Fls, machine as host_machine},
    flasher::keep,
    machine::Machine,
    program,
};

/// What such images are called by.
pub(super) const SCHEME: &str = "oci://";
/// Where releases of the tool are.
const RELEASES: &str = "https://github.com/jumpstarter-dev/fls/releases/download";

/// User name and password for a registry.
pub(super) type Credentials = Option<(String, String)>;

/// Those of the call, else those of the exporter's environment.
pub(super) fn credentials(username: Option<String>, password: Option<String>) -> Result<Credentials, DriverError> {
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    match (set(username), set(password)) {
        (Some(username), Some(password)) => Ok(Some((username, password))),
        (None, None) => Ok(set(env::var("OCI_USERNAME").ok()).zip(set(env::var("OCI_PASSWORD").ok()))),
        _ => Err(DriverError::InvalidArgument("a registry wants both a user name and a password".to_owned())),
    }
}

/// The tool: what the configuration says, fetched once a session, or the one on `PATH`.
pub(super) async fn tool(machine: &Machine) -> Result<PathBuf, DriverError> {
    let Fls { version, custom_url, allow_custom, .. } = &machine.settings.fls;
    let url = match (custom_url, version) {
        (Some(_), _) if !allow_custom => {
            let message = "fls_custom_binary_url is set, but fls_allow_custom_binaries is not true";
            return Err(DriverError::Other(message.to_owned()));
        }
        (Some(url), _) => url.clone(),
        (None, Some(version)) => {
            let asset = if host_machine() == "x86_64" { "fls-x86_64-linux" } else { "fls-aarch64-linux-musl" };
            format!("{RELEASES}/{version}/{asset}")
        }
        (None, None) => return program::find("fls", "fls").map_err(|_| absent()),
    };
    let path = machine.path("fls");
    if path.exists() {
        return Ok(path);
    }
    machine.log.info(&format!("fetching fls from {url}"));
    let handle = json!({ "kind": "presigned_request", "headers": {}, "url": url, "method": "GET" });
    let partial = machine.path("partial-fls");
    let mut source = machine.resources.open(&handle).await?;
    source.copy_to_file(&partial).await?;
    source.finish().await?;
    let ready = fs::set_permissions(&partial, fs::Permissions::from_mode(0o755));
    ready
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|source| DriverError::Io { message: format!("keep fls: {source}"), source })?;
    Ok(path)
}

fn absent() -> DriverError {
    let hint = "install it from https://github.com/jumpstarter-dev/fls, or set fls_version";
    DriverError::Other(format!("fls is not on the exporter's PATH: {hint}"))
}

/// Runs the tool. Its output comes as it is made; at its good end the image gets its name.
#[expect(clippy::too_many_arguments, reason = "one call, each a different thing")]
pub(super) fn fetch(
    tool: &Path,
    url: &str,
    credentials: Credentials,
    partial: NamedTempFile,
    target: PathBuf,
    timeout: Duration,
    groups: &Groups,
    log: &DriverLog,
) -> Result<ValueStream, DriverError> {
    if !url.starts_with(SCHEME) {
        return Err(DriverError::InvalidArgument(format!("an OCI URL begins with {SCHEME}, got '{url}'")));
    }
    let mut env = HashMap::new();
    if let Some((username, password)) = credentials {
        env.insert("FLS_REGISTRY_USERNAME".to_owned(), username);
        env.insert("FLS_REGISTRY_PASSWORD".to_owned(), password);
    }
    let command = Command {
        shell: vec![tool.display().to_string()],
        script: "from-url".to_owned(),
        name: url.to_owned(),
        args: vec![partial.path().display().to_string()],
        env,
        cwd: None,
        timeout,
    };
    let output = command.run(groups, log)?;
    let checked = output.scan(Some((partial, target)), |waiting, item| {
        std::future::ready(Some(item.and_then(|item| match item[2].as_f64() {
            None => Ok(item),
            Some(0.0) => match waiting.take() {
                Some((partial, target)) => keep(partial, &target).map(|()| item),
                None => Ok(item),
            },
            Some(code) => {
                let said = item[1].as_str().unwrap_or_default().trim();
                Err(DriverError::Other(format!("fls has failed with code {code} {said}").trim_end().to_owned()))
            }
        })))
    });
    Ok(checked.into_stream().boxed())
}
