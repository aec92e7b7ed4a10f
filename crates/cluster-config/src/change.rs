//! What differs between two configurations.

use std::fmt;

use crate::{
    config::{ClusterConfig, Internal},
    keepalive::Keepalive,
};

/// One setting that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key, as in the ConfigMap.
    pub key: &'static str,
    /// When it takes effect.
    pub effect: Effect,
    /// What it was, and what it is now.
    pub values: String,
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once.
    Live,
    /// When the process starts again; until then the old value holds.
    Restart,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.values)
    }
}

/// Every setting that differs, in the order of the documentation.
#[must_use]
pub fn changes(old: &ClusterConfig, new: &ClusterConfig) -> Vec<Change> {
    let ClusterConfig {
        source: _,
        internal: Internal { prefix, token_lifetime },
        jwt,
        provisioning,
        keepalive,
        max_tags,
        hidden_labels,
        deprecated_labels,
        telemetry,
        routers,
        warnings: _,
    } = old;
    let mut found = Vec::new();
    let mut compare = |key, effect, same: bool, old: &dyn fmt::Debug, new: &dyn fmt::Debug| {
        if !same {
            found.push(Change { key, effect, values: format!("{old:?} → {new:?}") });
        }
    };
    macro_rules! compare {
        ($key:literal, $effect:ident, $old:expr, $new:expr) => {
            compare($key, Effect::$effect, $old == $new, $old, $new)
        };
    }
    compare!("authentication.internal.prefix", Restart, prefix, &new.internal.prefix);
    compare!("authentication.internal.tokenLifetime", Live, token_lifetime, &new.internal.token_lifetime);
    compare!("authentication.jwt", Restart, jwt, &new.jwt);
    compare!("provisioning.enabled", Live, provisioning, &new.provisioning);
    let Keepalive {
        min_time,
        permit_without_stream,
        timeout,
        interval,
        max_connection_idle,
        max_connection_age,
        max_connection_age_grace,
    } = keepalive;
    let now = &new.keepalive;
    compare!("grpc.keepalive.minTime", Restart, min_time, &now.min_time);
    compare!("grpc.keepalive.permitWithoutStream", Restart, permit_without_stream, &now.permit_without_stream);
    compare!("grpc.keepalive.timeout", Restart, timeout, &now.timeout);
    compare!("grpc.keepalive.intervalTime", Restart, interval, &now.interval);
    compare!("grpc.keepalive.maxConnectionIdle", Restart, max_connection_idle, &now.max_connection_idle);
    compare!("grpc.keepalive.maxConnectionAge", Restart, max_connection_age, &now.max_connection_age);
    compare!("grpc.keepalive.maxConnectionAgeGrace", Restart, max_connection_age_grace, &now.max_connection_age_grace);
    compare!("leasePolicy.maxTags", Live, max_tags, &new.max_tags);
    compare!("hiddenLabels.keys", Live, hidden_labels, &new.hidden_labels);
    compare!("deprecatedLabels.keys", Live, deprecated_labels, &new.deprecated_labels);
    compare!("telemetry", Live, telemetry, &new.telemetry);
    compare!("router", Live, routers, &new.routers);
    found
}
