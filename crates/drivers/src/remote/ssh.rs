//! `jumpstarter_driver_ssh.driver.SSHWrapper`: the client runs its own `ssh` over the child `tcp`.
use std::path::PathBuf;

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;

use crate::{Build, Driver, DriverError, Value, args::Args};

use super::require_tcp;

const COMMAND: &str = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
/// Larger files are no keys.
const MAX_KEY: u64 = 1024 * 1024;

/// Tells user, command and key.
pub(super) struct SshWrapper {
    user: String,
    command: String,
    identity: Identity,
}

enum Identity {
    None,
    Text(String),
    /// Read when it is asked for, so that a key may be changed while the exporter runs.
    File(PathBuf),
}

impl SshWrapper {
    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let user = keys.or("default_username", String::new());
        let command = keys.or("ssh_command", COMMAND.to_owned());
        let text = keys.secret("ssh_identity").filter(|text| !text.is_empty());
        let file = keys.option::<PathBuf>("ssh_identity_file").filter(|file| !file.as_os_str().is_empty());
        if text.is_some() && file.is_some() {
            keys.fault("ssh_identity_file", "cannot be combined with 'ssh_identity'");
        }
        keys.end()?;
        require_tcp(&build)?;
        let identity = match (text, file) {
            (Some(text), _) => Identity::Text(text),
            (None, Some(file)) => Identity::File(file),
            (None, None) => Identity::None,
        };
        Ok(Self { user, command, identity })
    }

    async fn identity(&self) -> Result<Value, DriverError> {
        let path = match &self.identity {
            Identity::None => return Ok(Value::Null),
            Identity::Text(text) => return Ok(json!(text)),
            Identity::File(path) => path,
        };
        let failed = |source: std::io::Error| DriverError::Io {
            message: format!("read ssh_identity_file {}: {source}", path.display()),
            source,
        };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        if size > MAX_KEY {
            let message = format!("ssh_identity_file {} has {size} bytes: this is no key", path.display());
            return Err(DriverError::Other(message));
        }
        tokio::fs::read_to_string(path).await.map(Value::String).map_err(failed)
    }
}

impl Driver for SshWrapper {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_ssh.client.SSHWrapperClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let args = Args::new(method, args);
            match method {
                "get_default_username" => args.end().map(|()| json!(self.user)),
                "get_ssh_command" => args.end().map(|()| json!(self.command)),
                "get_ssh_identity" => {
                    args.end()?;
                    self.identity().await
                }
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }
}
