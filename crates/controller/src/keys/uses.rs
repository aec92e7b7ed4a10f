//! Who still uses tokens that will stop working: those of keys with an end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use jumpstarter_auth::{Claims, KeyUse};
use jumpstarter_model::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tracing::{info, warn};

/// A subject is named in the log once in so many seconds: a day.
const SILENCE: i64 = 24 * 3600;
/// Subjects remembered for that; all are forgotten when there are more.
const MAX_SUBJECTS: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    key: String,
}

/// Counts and logs uses of tokens signed by trusted keys of others, and of older keys of ours.
#[derive(Clone, Default)]
pub(crate) struct LegacyUses {
    foreign: Family<Labels, Counter<u64, AtomicU64>>,
    retired: Counter<u64, AtomicU64>,
    logged: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl LegacyUses {
    /// Registers the counters; `registry` prefixes them with `jumpstarter`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "legacy_token_uses",
            "Calls with a token signed by a trusted key of another service, by name of the key",
            self.foreign.clone(),
        );
        registry.register(
            "retired_key_token_uses",
            "Calls with a token signed by an older signing key",
            self.retired.clone(),
        );
    }

    /// Notes that a call came with this token.
    pub(crate) fn note(&self, claims: &Claims, now: Timestamp) {
        match &claims.key.role {
            KeyUse::Signing => return,
            KeyUse::Retired => _ = self.retired.inc(),
            KeyUse::Trusted(name) => _ = self.foreign.get_or_create(&Labels { key: name.clone() }).inc(),
        }
        if !self.is_news(&claims.sub, now) {
            return;
        }
        let until = claims.key.until.map(|until| until.to_string()).unwrap_or_default();
        let (subject, key) = (&claims.sub, &claims.key.role);
        match claims.key.role {
            KeyUse::Trusted(_) => warn!(
                subject,
                until,
                "a token signed by {key} was used: it stops working at the date; give its holder the one in its Secret"
            ),
            KeyUse::Signing | KeyUse::Retired => {
                info!(subject, until, "a token signed by {key} was used: it stops working at the date");
            }
        }
    }

    fn is_news(&self, subject: &str, now: Timestamp) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = logged.get_mut(subject) {
            let news = now.as_second() - last.as_second() >= SILENCE;
            if news {
                *last = now;
            }
            return news;
        }
        if logged.len() >= MAX_SUBJECTS {
            logged.clear();
        }
        logged.insert(subject.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use jumpstarter_auth::{KeyRing, SigningKey, TokenIssuer};

    use super::*;

    #[test]
    fn uses_are_counted_and_told_once_a_day() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let later = |seconds: i64| Timestamp::from_second(now.as_second() + seconds).unwrap();
        let theirs = SigningKey::generate().unwrap();
        let token = TokenIssuer::new(theirs.clone()).issue("client:a:b:c", now).unwrap().token.into_exposed();
        let mut ring = KeyRing::generate(now).unwrap();
        ring.trust("old", vec![theirs.verifying_key().clone()], later(10 * SILENCE), now).unwrap();
        let issuer = TokenIssuer::with_ring(ring);
        let foreign = issuer.verify(&token, now).unwrap();
        let ours = issuer.issue("client:a:b:d", now).unwrap().token.into_exposed();
        let ours = issuer.verify(&ours, now).unwrap();

        let uses = LegacyUses::default();
        for _ in 0..3 {
            uses.note(&foreign, now);
            uses.note(&ours, now);
        }
        assert_eq!(uses.foreign.get_or_create(&Labels { key: "old".into() }).get(), 3);
        assert_eq!(uses.retired.get(), 0);
        let logged = uses.logged.lock().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(logged, ["client:a:b:c"]);
        assert!(!uses.is_news("client:a:b:c", later(SILENCE - 1)));
        assert!(uses.is_news("client:a:b:c", later(SILENCE)));
        assert!(!uses.is_news("client:a:b:c", later(SILENCE + 1)));
    }
}
