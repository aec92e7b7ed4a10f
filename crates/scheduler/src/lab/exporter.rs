//! What the lab keeps of an exporter.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{Exporter, ExporterPhase, Timestamp, condition::is_true};

use super::{
    access::Scope,
    health::{Record, pool::Seat},
    names::Name,
    want::WantId,
};

/// One exporter.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) seen: Seen,
    /// The lease in `status.leaseRef`, as observed or assumed.
    pub(crate) claim: Option<Name>,
    pub(crate) scope: Scope,
    /// Whether it can be used, leaving aside by whom.
    pub(crate) usable: Usable,
    /// Its place among the equally usable: when a free one was used last, when a held one will be let go.
    pub(crate) at: Timestamp,
    /// Whether anything is ahead of it in the calendar.
    pub(crate) booked: bool,
    /// Wants that it matches.
    pub(crate) wants: BTreeSet<WantId>,
    /// Whether it is kept back.
    pub(crate) quarantined: bool,
    /// The end of an operator's quarantine that is over.
    pub(crate) lapsed: Option<Timestamp>,
    /// Those that stand in for it.
    pub(crate) pool: Name,
    /// Where it counts among them.
    pub(crate) seat: Option<Seat>,
    /// The timer of its health.
    pub(crate) health_wake: Option<Timestamp>,
}

/// The observed part that decisions look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) enabled: bool,
    /// Registered and connected.
    pub(crate) online: bool,
    /// When it went offline, if it is.
    pub(crate) offline_since: Option<Timestamp>,
    pub(crate) phase: ExporterPhase,
    pub(crate) message: Option<String>,
    /// How its leases went, where that is worth a look.
    pub(crate) health: Option<Box<Record>>,
}

/// Whether an exporter can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Usable {
    Offline,
    /// Held in full right, or about to be.
    Leased,
    /// Held as spot.
    Spot,
    /// Not held, and on its way back to being free.
    Returning,
    /// Not held, and nothing says that it will be free.
    NotReady,
    Free,
}

impl Seen {
    /// What is seen in the object, and the lease that it is claimed for.
    pub(crate) fn of(exporter: &Exporter) -> (Self, Option<Name>) {
        let status = exporter.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let claim = status.and_then(|status| status.lease_ref.as_ref()).map(|claim| claim.name.as_str());
        let online = is_true(conditions, "Registered") && is_true(conditions, "Online");
        let went = conditions.iter().filter(|condition| condition.status != "True");
        let seen = Self {
            labels: exporter.metadata.labels.clone().unwrap_or_default(),
            enabled: exporter.is_enabled(),
            online,
            offline_since: went.map(|condition| condition.last_transition_time.0).max().filter(|_| !online),
            phase: status.and_then(|status| status.exporter_status).unwrap_or_default(),
            message: status.and_then(|status| status.status_message.clone()),
            health: Record::of(exporter),
        };
        (seen, claim.filter(|name| !name.is_empty()).map(Name::from))
    }

    /// Whether it can be used: rows 9, 11 and 12 of kubernetes.md §4.2.
    pub(crate) fn usable(&self, held: Option<Usable>, tear_down: bool) -> Usable {
        match (held, self.phase) {
            _ if !self.online => Usable::Offline,
            (Some(held), _) => held,
            (
                None,
                ExporterPhase::Offline | ExporterPhase::BeforeLeaseHookFailed | ExporterPhase::AfterLeaseHookFailed,
            ) => Usable::NotReady,
            (None, ExporterPhase::BeforeLeaseHook | ExporterPhase::LeaseReady | ExporterPhase::AfterLeaseHook) => {
                Usable::Returning
            }
            (None, ExporterPhase::Unspecified | ExporterPhase::Available) if tear_down => Usable::Returning,
            (None, ExporterPhase::Unspecified | ExporterPhase::Available) => Usable::Free,
        }
    }
}
