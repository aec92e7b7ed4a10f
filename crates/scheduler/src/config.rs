//! What an operator may tune about decisions.

use jiff::SignedDuration;

use crate::QuarantineConfig;

/// Limits of waits that decisions bring about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabConfig {
    /// How long an assigned exporter that still says `Available` (or is away) may take to react before the lease is
    /// called ready all the same.
    pub ready_grace: SignedDuration,
    /// Longest time, from the begin of the lease, that a running beforeLease hook holds `Ready=True` back.
    pub hook_limit: SignedDuration,
    /// Time between the notice of preemption and the end of a spot lease. Zero, or less: it ends without a notice.
    pub preemption_grace: SignedDuration,
    /// Wait after which a lease comes before all younger ones of the same kind of access, whatever their priority or
    /// share. Zero, or less: never.
    pub longest_wait: SignedDuration,
    /// Time in which past use of devices comes to count half for fair share.
    pub share_half_life: SignedDuration,
    /// Most leases of one client that wait at once.
    pub max_waiting: usize,
    /// When exporters of which leases fail are kept back, and for how long.
    pub quarantine: QuarantineConfig,
    /// Time for tear-down that is kept free between two reservations of an exporter, and before its maintenance. Zero, or
    /// less: the one begins as the other ends.
    pub turnaround: SignedDuration,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            ready_grace: SignedDuration::from_secs(3),
            hook_limit: SignedDuration::from_mins(30),
            preemption_grace: SignedDuration::from_mins(1),
            longest_wait: SignedDuration::from_hours(24),
            share_half_life: SignedDuration::from_hours(24),
            max_waiting: 2000,
            quarantine: QuarantineConfig::default(),
            turnaround: SignedDuration::ZERO,
        }
    }
}
