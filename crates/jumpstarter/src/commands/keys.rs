//! `jumpstarter keys`: the keys that sign and verify identity tokens.

mod args;
mod place;
mod table;

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jumpstarter_auth::{KeyRing, RingError, VerifyingKey};

use self::{
    args::{Overlap, Until},
    place::{Place, PlaceArgs},
};
use super::say;

/// Longest JWKS file.
const MAX_FILE: u64 = 64 * 1024;
/// Said with every import: it is the reason for the date.
const WARNING: &str = "\
Warning: until that date, whoever finds the private half of this key can act as any client and any exporter.
The Go service makes its key from 31 bits, so everybody who holds one of its tokens can find it within a day.
Trust it for as long as people need to fetch new tokens, and not longer. The service warns at every start, counts
uses in the metric `jumpstarter_legacy_token_uses_total`, and names the users in its log.";

/// `jumpstarter keys`.
#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    place: PlaceArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List the keys: ids, dates and names, nothing secret
    Show {
        /// Print the public keys of this service as a JWKS document instead
        #[arg(long)]
        jwks: bool,
    },
    /// Make a new signing key; tokens of the one before are accepted for a while
    ///
    /// The running service takes it up at once and gives each client's and exporter's Secret a new token, some five a
    /// second. Tokens that were copied elsewhere must be fetched anew before the overlap ends.
    Rotate {
        /// How long tokens of the key before are accepted: a number with s, m, h, d or w; 0s ends them at once
        #[arg(long, value_name = "TIME", default_value = "30d")]
        overlap: Overlap,
    },
    /// Accept tokens signed by the keys of a JWKS document too, until a date: for labs that move from the Go service
    ///
    /// Also before the service has started for the first time: its own keys are made then.
    Trust {
        /// The JWKS document with the public keys; `-` reads standard input
        file: std::path::PathBuf,
        /// Last moment: a date (its beginning, UTC) or an RFC 3339 time
        #[arg(long, value_name = "DATE")]
        until: Until,
        /// Name in listings, logs and metrics; the same name again replaces its keys and date
        #[arg(long, default_value = "go-service")]
        name: String,
    },
    /// Stop accepting tokens signed by a trusted key
    Untrust {
        /// Its name
        name: String,
    },
}

/// Acts on the store of a service, running or not. A running one takes changes up by itself.
pub(crate) async fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    let KeysArgs { place, command } = args;
    let now = Timestamp::now();
    match command {
        Command::Show { jwks } => {
            let place = place.open().await?;
            let ring = place.read().await?;
            if jwks {
                say(serde_json::to_string_pretty(&ring.jwks(now))?);
            } else {
                say(table::render(&ring, now));
            }
        }
        Command::Rotate { overlap } => {
            let place = place.open().await?;
            let before = place.read().await?.signing_id();
            let ring = change(&place, |ring| ring.rotate(now, overlap.0)).await?;
            let until = ring.retired().iter().find(|retired| retired.key.id() == before).map(|retired| retired.until);
            say(format_args!("{} signs from now on, in {place}", ring.signing_id()));
            if let Some(until) = until {
                say(format_args!("{before} is accepted until {until}: fetch copied tokens anew before"));
            }
        }
        Command::Trust { file, until, name } => {
            // What is wrong with the file or the date is told before anything is opened.
            let keys = read_jwks(&file)?;
            if until.0 <= now {
                bail!("--until: {}", RingError::Past(until.0));
            }
            let place = place.open().await?;
            // Before the switch from the Go service there may be none: it must find both when it starts.
            place.prepare().await?;
            change(&place, |ring| ring.trust(&name, keys.clone(), until.0, now)).await?;
            warn(WARNING);
            let ids: Vec<_> = keys.iter().map(|key| key.id().to_string()).collect();
            say(format_args!("{name} ({}) is trusted until {}, in {place}", ids.join(", "), until.0));
        }
        Command::Untrust { name } => {
            let place = place.open().await?;
            change(&place, |ring| ring.untrust(&name)).await?;
            say(format_args!("{name} is no longer trusted, in {place}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(
    place: &Place,
    change: impl FnMut(&mut KeyRing) -> Result<(), RingError> + Send,
) -> anyhow::Result<KeyRing> {
    place.edit(change).await.with_context(|| format!("change the keys in {place}"))
}

fn read_jwks(file: &Path) -> anyhow::Result<Vec<VerifyingKey>> {
    use std::io::Read as _;
    let mut text = String::new();
    let (name, read) = if file.as_os_str() == "-" {
        ("standard input".to_owned(), std::io::stdin().take(MAX_FILE + 1).read_to_string(&mut text))
    } else {
        let read = std::fs::File::open(file).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        (file.display().to_string(), read)
    };
    read.with_context(|| format!("read {name}"))?;
    VerifyingKey::from_jwks(&text).with_context(|| format!("{name} cannot be trusted"))
}

#[expect(clippy::print_stderr, reason = "a warning beside the result")]
fn warn(text: &str) {
    eprintln!("{text}");
}
