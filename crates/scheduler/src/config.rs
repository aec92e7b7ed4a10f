//! What an operator may tune about decisions.

use jiff::SignedDuration;

/// Limits of the hold-back between assignment and `Ready=True`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabConfig {
    /// How long an assigned exporter that still says `Available` (or is away) may take to react before the lease is
    /// called ready all the same.
    pub ready_grace: SignedDuration,
    /// Longest time, from the begin of the lease, that a running beforeLease hook holds `Ready=True` back.
    pub hook_limit: SignedDuration,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self { ready_grace: SignedDuration::from_secs(3), hook_limit: SignedDuration::from_mins(30) }
    }
}
