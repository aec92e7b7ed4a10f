//! `jmp auth`: the token of a client.
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jumpstarter_config::{ClientConfig, ConfigHome, Env, Secret};

use crate::{
    client_args::{self, ClientArgs},
    failure::Failure,
    oidc::Oidc,
    output,
    terminal::{Tone, paint, stdout_colours},
    token::{Token, words},
};

/// A token with less left should be renewed.
const SOON: i64 = 300;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum AuthCommand {
    /// Get a new access token with the stored refresh token.
    Refresh(ClientArgs),
    /// Replace the token of the service by a new one.
    Rotate(ClientArgs),
    /// Show the token's owner and end.
    Status(StatusArgs),
}

/// Options of `status`.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// Show more.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Does it.
pub(crate) async fn run(command: AuthCommand) -> Result<(), Failure> {
    let env = Env::from_process();
    match command {
        AuthCommand::Refresh(client) => refresh(client.config(&env)?).await,
        AuthCommand::Rotate(client) => rotate(client.config(&env)?).await,
        AuthCommand::Status(args) => {
            let config = args.client.config(&env)?;
            for line in status(&config, args.verbose) {
                output::say(&line);
            }
            Ok(())
        }
    }
}

fn status(config: &ClientConfig, verbose: bool) -> Vec<String> {
    let colours = stdout_colours();
    let Some(secret) = &config.token else { return vec![paint("No token found in config", Tone::Warning, colours)] };
    let token = match Token::decode(secret.expose()) {
        Ok(token) => token,
        Err(error) => return vec![paint(&format!("Failed to decode token: {error}"), Tone::Bad, colours)],
    };
    let mut lines = lines(&token, Timestamp::now(), colours);
    if token.expiry().is_some() && verbose {
        lines.extend(
            [("Issued at", "iat"), ("Auth time", "auth_time")]
                .into_iter()
                .filter_map(|(label, claim)| Some(format!("{label}: {}", utc(token.moment(claim)?)))),
        );
        let stored = if config.refresh_token.is_some() { "yes" } else { "no" };
        lines.push(format!("Refresh token stored: {stored}"));
    }
    lines
}

fn lines(token: &Token, now: Timestamp, colours: bool) -> Vec<String> {
    let (Some(expiry), Some(left)) = (token.expiry(), token.remaining(now)) else {
        return vec![paint("Token has no expiry claim", Tone::Warning, colours)];
    };
    let mut lines = vec![format!("Token expiry: {}", utc(expiry))];
    let hint = "Run 'jmp login' to refresh your credentials.";
    let (text, tone) = match left {
        ..0 => (format!("Status: EXPIRED ({} ago)", words(left)), Tone::Bad),
        0..SOON => (format!("Status: EXPIRING SOON ({} remaining)", words(left)), Tone::Bad),
        SOON..3600 => (format!("Status: Valid ({} remaining)", words(left)), Tone::Warning),
        _ => (format!("Status: Valid ({} remaining)", words(left)), Tone::Good),
    };
    lines.push(paint(&text, tone, colours));
    if left < SOON {
        lines.push(paint(hint, Tone::Warning, colours));
    }
    for (label, claim) in [("Subject", "sub"), ("Issuer", "iss")] {
        if let Some(text) = token.text(claim) {
            lines.push(format!("{label}: {text}"));
        }
    }
    lines
}

fn utc(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

async fn refresh(mut config: ClientConfig) -> Result<(), Failure> {
    let lacking = |what: &str| Failure::new(format!("No {what} token found. Run 'jmp login --offline-access'."));
    let refresh = config.refresh_token.clone().ok_or_else(|| lacking("refresh"))?;
    let access = config.token.clone().ok_or_else(|| lacking("access"))?;
    let oidc = Oidc::of_token(access.expose(), config.tls.insecure)?;
    let tokens = oidc.refresh(&refresh).await?;
    tokens.put_into(&mut config);
    save(&config)?;
    output::say("Access token refreshed.");
    Ok(())
}

async fn rotate(mut config: ClientConfig) -> Result<(), Failure> {
    if config.token.is_none() {
        return Err(Failure::new("No token found in config."));
    }
    let client = client_args::connect(&mut config).await?;
    let fresh: Secret = client.rotate_token().await?;
    let token = Token::decode(fresh.expose())
        .map_err(|error| Failure::new(format!("Token rotation failed: invalid token returned ({error}).")))?;
    config.token = Some(fresh);
    save(&config)?;
    output::say(&match (token.expiry(), token.remaining(Timestamp::now())) {
        (Some(expiry), Some(left)) => {
            format!("Token rotated. New expiry: {} ({} remaining)", utc(expiry), words(left))
        }
        _ => "Token rotated.".to_owned(),
    });
    Ok(())
}

/// Writes the configuration back to where it came from.
pub(crate) fn save(config: &ClientConfig) -> Result<(), Failure> {
    match &config.path {
        Some(path) => config.save(path)?,
        None => drop(ConfigHome::resolve(&Env::from_process())?.save_client(config)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn what_is_said_of_a_token() {
        let token = |claims: &str| Token::decode(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let full = token(r#"{"exp": 10000, "sub": "alice", "iss": "https://lab"}"#);
        for (now, expected) in [
            (10_060, "Status: EXPIRED (1m 0s ago)"),
            (9_990, "Status: EXPIRING SOON (10s remaining)"),
            (9_000, "Status: Valid (16m 40s remaining)"),
            (0, "Status: Valid (2h 46m remaining)"),
        ] {
            let said = lines(&full, at(now), false);
            assert_eq!(said[0], "Token expiry: 1970-01-01 02:46:40 UTC");
            assert_eq!(said[1], expected);
            let hint = said.contains(&"Run 'jmp login' to refresh your credentials.".to_owned());
            assert_eq!(hint, now > 9_700, "{now}");
            assert_eq!(said[said.len() - 2..], ["Subject: alice", "Issuer: https://lab"]);
        }
        assert_eq!(lines(&token("{}"), at(0), false), ["Token has no expiry claim"]);
    }
}
