//! What a shell is told while it runs: its lease ends soon or has ended, it went to another client, its token ends.
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jumpstarter_client::{Client, Lease};
use jumpstarter_config::{ClientConfig, Env};
use rustix::process::Signal;
use tokio::{sync::watch, time::sleep};

use super::signals::tell;
use crate::{
    listing::Present,
    oidc::Oidc,
    output,
    terminal::{Tone, paint, stderr_colours},
    token::{Token, words},
};

/// Looks at the lease while the program runs.
const LOOK: Duration = Duration::from_secs(30);
/// A lease with less left is about to end.
const SOON: SignedDuration = SignedDuration::from_mins(5);
/// A token with less left is renewed.
const RENEW: i64 = 120;
/// A token with less left is worth a word.
const WARN: i64 = 300;

/// How the lease went, as far as the shell saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It is over.
    pub(super) ended: bool,
    /// Another client has it.
    pub(super) transferred: bool,
}

/// Looks at the lease now and then; at its end the program is told by SIGHUP. Never returns.
pub(super) async fn lease(
    client: &Client,
    granted: &Lease,
    child: &watch::Receiver<Option<u32>>,
    seen: &watch::Sender<Seen>,
) {
    let mut end = granted.expires_at();
    let mut warned_of = None;
    loop {
        let left = end.map(|end| end.duration_since(Timestamp::now()));
        if let (Some(left), Some(end)) = (left, end)
            && left <= SOON
            && left > SignedDuration::ZERO
            && warned_of != Some(end)
            // A lease that is short as a whole needs no such word at its begin.
            && granted.duration.is_none_or(|whole| whole.as_secs() > SOON.as_secs().unsigned_abs())
        {
            tracing::info!(
                "Lease {} ending in {} at {}; `jmp update lease {} --duration …` makes it last longer",
                granted.name,
                minutes(left),
                clock(end),
                granted.name
            );
            warned_of = Some(end);
        }
        let left = left.and_then(|left| Duration::try_from(left).ok());
        sleep(left.map_or(LOOK, |left| (left + Duration::from_millis(500)).min(LOOK))).await;
        let over = match client.get_lease(&granted.name).await {
            Ok(lease) => {
                if lease.client != client.name() && !seen.borrow().transferred {
                    seen.send_modify(|seen| seen.transferred = true);
                    output::complain("Lease has been transferred to another client. Session is no longer valid.");
                }
                let over = lease.effective_end_time.is_some();
                end = lease.expires_at().or(end);
                over
            }
            // Without an answer, the last known end counts.
            Err(error) => {
                tracing::debug!(%error, "look at the lease");
                end.is_some_and(|end| end <= Timestamp::now())
            }
        };
        if over {
            break;
        }
    }
    seen.send_modify(|seen| seen.ended = true);
    tracing::info!("Lease {} ended at {}", granted.name, clock(end.unwrap_or_else(Timestamp::now)));
    tell(*child.borrow(), Signal::HUP);
    std::future::pending::<()>().await;
}

fn minutes(left: SignedDuration) -> String {
    match left.as_mins() {
        0 => "less than a minute".to_owned(),
        1 => "1 minute".to_owned(),
        many => format!("{many} minutes"),
    }
}

fn clock(moment: Timestamp) -> String {
    moment.to_zoned(Present::here().zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Keeps the token fresh: by its refresh token, else from the file, where a `jmp login` inside the shell puts a new one.
/// Never returns.
pub(super) async fn token(config: &ClientConfig, client: &Client) {
    let mut config = config.clone();
    let (mut warned, mut failed) = (false, false);
    loop {
        let token = config.token.as_ref().and_then(|token| Token::decode(token.expose()).ok());
        let Some(left) = token.and_then(|token| token.remaining(Timestamp::now())) else {
            // It says of no end.
            return std::future::pending().await;
        };
        if left <= RENEW {
            match renewed(&mut config, client).await {
                Some(text) => {
                    say(text, Tone::Good);
                    (warned, failed) = (false, false);
                }
                None if !failed => {
                    failed = true;
                    say(&hint(left), if left > 0 { Tone::Warning } else { Tone::Bad });
                }
                None => {}
            }
        } else if left <= WARN && !warned {
            warned = true;
            say(&format!("Token expires in {}. Will attempt auto-refresh.", words(left)), Tone::Warning);
        }
        sleep(Duration::from_secs(if left <= RENEW { 5 } else { 30 })).await;
    }
}

fn hint(left: i64) -> String {
    if left > 0 {
        let left = words(left);
        format!("Token expires in {left} and auto-refresh failed. Run 'jmp login' from this shell to refresh manually.")
    } else {
        "Token expired and auto-refresh failed. New commands will fail until you run 'jmp login' from this shell."
            .to_owned()
    }
}

fn say(text: &str, tone: Tone) {
    output::complain(&format!("\n{}", paint(text, tone, stderr_colours())));
}

async fn renewed(config: &mut ClientConfig, client: &Client) -> Option<&'static str> {
    if let (Some(refresh), Some(access)) = (config.refresh_token.clone(), config.token.clone())
        && let Ok(oidc) = Oidc::of_token(access.expose(), config.tls.insecure)
        && let Ok(tokens) = oidc.refresh(&refresh).await
    {
        tokens.put_into(config);
        client.set_token(config.token.as_ref()?).ok()?;
        if let Some(path) = &config.path
            && let Err(error) = config.save(path)
        {
            tracing::warn!(%error, "save the renewed token");
        }
        return Some("Token refreshed automatically.");
    }
    let path = config.path.clone()?;
    let stored = ClientConfig::from_file(&path, &Env::empty()).ok()?;
    let fresh = stored.token.filter(|token| Some(token) != config.token.as_ref())?;
    if Token::decode(fresh.expose()).ok()?.remaining(Timestamp::now()).is_none_or(|left| left <= 0) {
        return None;
    }
    client.set_token(&fresh).ok()?;
    config.token = Some(fresh);
    config.refresh_token = stored.refresh_token;
    Some("Token reloaded from login.")
}
