//! Which client a command acts as: the options, the configuration, the connection.
use std::{path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::Client;
use jumpstarter_config::{ClientChoice, ClientConfig, ConfigError, ConfigHome, Env};

use crate::{
    complete,
    failure::Failure,
    oidc::Oidc,
    output,
    terminal::{Tone, paint, stderr_colours},
    token::Token,
    values::insecure_tls,
};

/// A dial waits for so long at most before it turns to the router.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

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
        let mut config = self.config(&Env::from_process())?;
        let client = connect(&mut config).await?;
        Ok((client, config))
    }
}

/// A connection to the service of a configuration. A token that is over is renewed when there is a refresh token.
pub(crate) async fn connect(config: &mut ClientConfig) -> Result<Client, Failure> {
    let token = config.token.as_ref().and_then(|token| Token::decode(token.expose()).ok());
    if let Some(expiry) = token.as_ref().and_then(Token::expired) {
        let over = |hint: &str| {
            let (alias, since) = (&config.alias, expiry.strftime("%Y-%m-%d %H:%M:%S UTC"));
            Failure::new(format!("the token of client config '{alias}' is expired since {since}: {hint}"))
        };
        let Some(refresh) = config.refresh_token.clone() else { return Err(over(&renewal(config))) };
        let say = |text: &str| output::complain(&paint(text, Tone::Warning, stderr_colours()));
        say("Token is expired, triggering re-authentication");
        let tokens = match Oidc::of_config(config) {
            Ok(oidc) => oidc.refresh(&refresh).await,
            Err(failure) => Err(failure),
        };
        match tokens {
            Ok(tokens) => tokens.put_into(config),
            Err(Failure::Failed(reason)) => return Err(over(&format!("{reason}; log in again with `jmp login`"))),
            Err(other) => return Err(other),
        }
        if let Some(path) = &config.path {
            config.save(path)?;
        }
        say("Re-authenticated, retrying...");
    }
    let limit = direct_limit(&Env::from_process())?;
    let client = Client::from_config(config).await?;
    if let Some(limit) = limit {
        client.set_direct_limit(limit);
    }
    Ok(client)
}

/// How long to try to do without a router, where `JMP_DIRECT` says so; nothing at all turns it off.
fn direct_limit(env: &Env) -> Result<Option<Duration>, Failure> {
    let Some(text) = env.non_empty("JMP_DIRECT") else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" => return Ok(None),
        "off" | "no" | "false" | "0" => return Ok(Some(Duration::ZERO)),
        _ => {}
    }
    let limit = text.strip_suffix("ms").and_then(|number| number.parse().ok()).map(Duration::from_millis);
    match limit {
        Some(limit) if !limit.is_zero() && limit <= LONGEST_ATTEMPT => Ok(Some(limit)),
        _ => Err(Failure::Usage(format!(
            "JMP_DIRECT: '{text}' is none of: on, off, or the time that a direct connection may take, 1ms to 10000ms"
        ))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_direct_ways() {
        let said = |text: &str| direct_limit(&Env::from_iter([("JMP_DIRECT", text)]));
        for (text, expected) in [
            ("", None),
            ("on", None),
            ("off", Some(Duration::ZERO)),
            ("False", Some(Duration::ZERO)),
            ("250ms", Some(Duration::from_millis(250))),
        ] {
            assert_eq!(said(text).ok(), Some(expected), "{text}");
        }
        for text in ["maybe", "0ms", "11s", "99999ms", "ms"] {
            assert!(matches!(said(text), Err(Failure::Usage(_))), "{text}");
        }
    }
}
