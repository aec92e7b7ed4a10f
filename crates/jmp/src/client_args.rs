//! Which client a command acts as: the options, the configuration, the connection.
use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::Client;
use jumpstarter_config::{ClientChoice, ClientConfig, ConfigError, ConfigHome, Env};

use crate::{complete, failure::Failure, token::Token, values::insecure_tls};

/// `--client` and `--client-config`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClientArgs {
    /// Path of a client config.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub(crate) client_config: Option<PathBuf>,
    /// Alias of a client config.
    #[arg(long, value_name = "ALIAS", add = ArgValueCandidates::new(complete::clients))]
    pub(crate) client: Option<String>,
}

impl ClientArgs {
    /// What the options ask for.
    pub(crate) fn choice(&self) -> Result<ClientChoice, Failure> {
        match (&self.client, &self.client_config) {
            (Some(_), Some(_)) => Err(Failure::Usage(
                "Invalid value: only one of --client, --client-config should be specified".to_owned(),
            )),
            (Some(alias), None) => Ok(ClientChoice::Alias(alias.clone())),
            (None, Some(path)) => Ok(ClientChoice::Path(path.clone())),
            (None, None) => Ok(ClientChoice::Default),
        }
    }

    /// The configuration chosen.
    pub(crate) fn config(&self, env: &Env) -> Result<ClientConfig, Failure> {
        let choice = self.choice()?;
        let mut config = ConfigHome::resolve(env)
            .and_then(|home| home.select_client(&choice, env))
            .map_err(|error| load_failure(&error))?;
        config.tls.insecure |= insecure_tls(env);
        Ok(config)
    }

    /// The configuration chosen, and a connection to its service.
    pub(crate) async fn connect(&self) -> Result<(Client, ClientConfig), Failure> {
        let config = self.config(&Env::from_process())?;
        let client = connect(&config).await?;
        Ok((client, config))
    }
}

/// A connection to the service of a configuration whose token is not over yet.
pub(crate) async fn connect(config: &ClientConfig) -> Result<Client, Failure> {
    let token = config.token.as_ref().and_then(|token| Token::decode(token.expose()).ok());
    if let Some(expiry) = token.as_ref().and_then(Token::expired) {
        return Err(Failure::new(format!(
            "the token of client config '{}' is expired since {}: {}",
            config.alias,
            expiry.strftime("%Y-%m-%d %H:%M:%S UTC"),
            renewal(config),
        )));
    }
    Ok(Client::from_config(config).await?)
}

/// How to get a new token.
pub(crate) fn renewal(config: &ClientConfig) -> String {
    if config.refresh_token.is_some() {
        return format!("run `jmp auth refresh --client {}`", config.alias);
    }
    format!(
        "log in again with `jmp login`, or ask the lab's operator for `jmp admin rotate client {} --save`",
        config.metadata.name
    )
}

/// The failure of a configuration that cannot be used.
pub(crate) fn load_failure(error: &ConfigError) -> Failure {
    match error {
        ConfigError::NoDefaultClient => {
            Failure::new(format!("{error}; log in with `jmp login`, or choose one with `jmp config client use NAME`"))
        }
        other => Failure::from_error("Failed to load config", other),
    }
}
