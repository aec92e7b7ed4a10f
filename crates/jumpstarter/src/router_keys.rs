//! The keys that a router accepts tickets of, read again on request.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::Context as _;
use clap::Args;
use jumpstarter_auth::{TicketKey, TicketKeys, TicketVerifier};
use jumpstarter_router::{Refusal, StreamTicket, TicketCheck};

use crate::cluster::Misconfigured;

/// Where the keys are.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeySource {
    /// File with the key that the service signs tickets with (`keys/router.key` of its data directory); else the
    /// environment variable ROUTER_KEY
    #[arg(long, value_name = "FILE")]
    router_key: Option<PathBuf>,

    /// File with a further key whose tickets are accepted, repeatable: the one before, or the one to come; else the
    /// environment variable ROUTER_KEY_PREVIOUS
    #[arg(long, value_name = "FILE")]
    previous_router_key: Vec<PathBuf>,
}

impl KeySource {
    /// Whether the key comes from a file.
    pub(crate) fn is_file(&self) -> bool {
        self.router_key.is_some()
    }

    fn read(&self) -> anyhow::Result<TicketKeys> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default().into_bytes();
        let key = match &self.router_key {
            Some(path) => from_file(path)?,
            None => TicketKey::from_bytes(variable("ROUTER_KEY"))
                .map_err(|error| Misconfigured(format!("the router key (--router-key FILE or ROUTER_KEY): {error}")))?,
        };
        let mut keys = TicketKeys::new(key);
        for path in &self.previous_router_key {
            keys = keys.accepting(from_file(path)?);
        }
        let previous = variable("ROUTER_KEY_PREVIOUS");
        if self.previous_router_key.is_empty() && !previous.is_empty() {
            let key = TicketKey::from_bytes(previous)
                .map_err(|error| Misconfigured(format!("ROUTER_KEY_PREVIOUS: {error}")))?;
            keys = keys.accepting(key);
        }
        Ok(keys)
    }
}

/// A key from a file; white space around it does not count.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<TicketKey> {
    let text = std::fs::read(path).with_context(|| format!("read the router key {}", path.display()))?;
    let key = TicketKey::from_bytes(text.trim_ascii())
        .map_err(|error| Misconfigured(format!("the router key {}: {error}", path.display())))?;
    Ok(key)
}

/// Checks tickets against the keys of now.
pub(crate) struct RouterKeys {
    source: KeySource,
    verifier: RwLock<Arc<TicketVerifier>>,
}

impl RouterKeys {
    /// Reads the keys.
    pub(crate) fn load(source: KeySource) -> anyhow::Result<Self> {
        let verifier = RwLock::new(Arc::new(TicketVerifier::new(&source.read()?)));
        Ok(Self { source, verifier })
    }

    /// Reads the files again. When one is wrong, the keys stay as they were.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let verifier = Arc::new(TicketVerifier::new(&self.source.read()?));
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        Ok(())
    }

    fn verifier(&self) -> Arc<TicketVerifier> {
        Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TicketCheck for RouterKeys {
    fn check(&self, bearer: &str) -> Result<StreamTicket, Refusal> {
        self.verifier().check(bearer)
    }

    fn check_status(&self, bearer: &str) -> Result<(), Refusal> {
        self.verifier().check_status(bearer)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use jumpstarter_auth::{Side, TicketIssuer};

    use super::*;

    fn ticket(key: &str) -> String {
        let issuer = TicketIssuer::new(&TicketKeys::new(TicketKey::from_bytes(key).unwrap()));
        issuer.issue(uuid::Uuid::new_v4(), Side::Client, SignedDuration::from_mins(5), Timestamp::now()).unwrap()
    }

    #[test]
    fn keys_overlap_and_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        std::fs::write(&first, "old\n").unwrap();
        std::fs::write(&second, "new\n").unwrap();
        let source = KeySource { router_key: Some(first.clone()), previous_router_key: vec![second.clone()] };
        let keys = RouterKeys::load(source).unwrap();
        let accepts = |key: &str| keys.check(&ticket(key)).is_ok();
        assert!(accepts("old") && accepts("new") && !accepts("newest"));

        std::fs::write(&first, "newest").unwrap();
        assert!(accepts("old"), "nothing is read by itself");
        keys.reload().unwrap();
        assert!(!accepts("old") && accepts("new") && accepts("newest"));

        std::fs::write(&second, " \n").unwrap();
        let error = format!("{:#}", keys.reload().unwrap_err());
        assert!(error.contains("second"), "{error}");
        assert!(accepts("new") && accepts("newest"), "what is wrong changes nothing");
    }
}
