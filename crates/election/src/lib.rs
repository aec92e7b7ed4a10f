//! Which of several replicas leads, decided on one `coordination.k8s.io/v1` Lease object.
//!
//! The record and its rules are those of client-go's leader election, so that a Go replica and ours can share one lock
//! and never lead at the same time:
//!
//! * Who holds the lock writes `renewTime` again and again; whoever has seen the record **unchanged for as long as the
//!   record's `leaseDurationSeconds`**, by a clock of its own, may take it. Times written by others are never compared
//!   with a clock here, so it does not matter how far the clocks of replicas are apart.
//! * Every write is a compare-and-swap on the object's version.
//! * A holder counts from the moment when it *sent* its last accepted write, and stops leading by itself after
//!   [`Timing::renew_deadline`], which is shorter than the lease: also when the API server does not answer at all.
//! * A clean stop empties `holderIdentity`; others watch the object and take over at once.
//!
//! What we add: the leader's reachable address, in the annotations [`ADDRESS_ANNOTATION`] and [`IDENTITY_ANNOTATION`].
//!
//! [`Machine`] has all the rules and no clock, no network and no randomness; [`Elector`] runs one against a cluster.

mod elector;
mod machine;
mod record;
mod timing;

pub use elector::{Elector, Options};
pub use machine::{Machine, Moment, Sighting, Source, Step, WriteFailure};
pub use record::{ADDRESS_ANNOTATION, Candidate, IDENTITY_ANNOTATION, Record};
pub use timing::{Timing, TimingError};

/// What a replica is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another replica leads, or none does.
    Standby {
        /// Who holds the lock as last seen; `None` while nobody does, and while the object could not be read yet.
        leader: Option<Leader>,
    },
    /// This replica leads.
    Leading {
        /// Counts how often this process has come to lead: a new number means that it had ceased to lead in between.
        term: u64,
    },
}

impl Leadership {
    /// Whether this replica leads.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        matches!(self, Self::Leading { .. })
    }
}

/// Another replica that holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its `holderIdentity`.
    pub identity: String,
    /// Where it serves, `host:port`; `None` when it does not say, as Go replicas do not.
    pub address: Option<String>,
}
