//! What the checker remembers of objects.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jumpstarter_model::{
    ExporterPhase, Lease, LeaseGroup, LeaseSpec, Selector, Timestamp,
    condition::{is_true, lease::noticed_at},
    lease_time,
};
use jumpstarter_scheduler::transition::{MAINTENANCE_CLIENT, REQUEUE, REQUEUED_FROM, reserved};
use jumpstarter_store::Object;

use super::health::Kept;

/// Place among equals: creation, then uid.
pub(super) type Age = (Timestamp, String);

/// What is reserved for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) exporter: String,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
}

/// A lease as stored last.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, which objects keep apart, too")]
pub(super) struct LeaseFacts {
    pub(super) client: String,
    /// Whether it is one of the service's own, which checks an exporter.
    pub(super) own: bool,
    pub(super) spec: LeaseSpec,
    pub(super) selector: Selector,
    pub(super) created: Age,
    pub(super) release: bool,
    pub(super) begin: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    pub(super) exporter: Option<String>,
    pub(super) ready: bool,
    pub(super) ended: bool,
    /// The terms on which it holds its exporter.
    pub(super) spot: bool,
    pub(super) priority: i64,
    /// When it was told that it is to make way, by the service's clock and in truth.
    pub(super) notice: Option<Timestamp>,
    pub(super) noticed: Option<Duration>,
    /// Whether another one is to wait in its stead, and the lease in whose stead it waits itself.
    pub(super) requeue: bool,
    pub(super) follows: Option<String>,
    /// Whether it was refused.
    pub(super) refused: bool,
    /// What it has reserved while it waits, since when that is stored, and what it had reserved when it got an exporter.
    pub(super) plan: Option<Plan>,
    pub(super) planned: Duration,
    pub(super) plan_before: Option<Plan>,
    /// What it has said first of the group that it is in.
    pub(super) group: Option<LeaseGroup>,
    /// Since when it is stored, and since when it has an exporter.
    pub(super) known: Duration,
    pub(super) granted: Option<Duration>,
    pub(super) over: Option<Duration>,
    /// Lengths that it has had.
    pub(super) lengths: BTreeSet<String>,
    /// Calm seconds for which its end is due, and for which it has waited for a free exporter.
    pub(super) overdue: u32,
    pub(super) waited: u32,
    /// Calm seconds for which nothing is reserved for it although it could be.
    pub(super) unplanned: u32,
    /// Calm seconds for which nobody makes way for it, and for which nobody needs that it makes way.
    pub(super) unmoved: u32,
    pub(super) needless: u32,
}

impl LeaseFacts {
    pub(super) fn of(object: &Object, lease: &Lease, at: Duration) -> Self {
        let status = lease.status.clone().unwrap_or_default();
        let exporter = lease.assigned_exporter().map(str::to_owned);
        let note = |key: &str| lease.metadata.annotations.as_ref().and_then(|notes| notes.get(key)).cloned();
        let notice = noticed_at(&status.conditions);
        let plan = reserved(lease).filter(|_| exporter.is_none() && !status.ended);
        let plan = plan.map(|(exporter, begin, end)| Plan { exporter: exporter.to_owned(), begin, end });
        let refused = ["Unsatisfiable", "Invalid"].iter().any(|kind| is_true(&status.conditions, kind));
        Self {
            client: lease.spec.client_ref.name.clone(),
            own: lease.spec.client_ref.name == MAINTENANCE_CLIENT,
            selector: Selector::from_label_selector(&lease.spec.selector).unwrap_or_default(),
            created: (
                lease.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
                object.uid().to_owned(),
            ),
            release: lease.spec.release == Some(true),
            begin: status.begin_time.map(|time| time.0),
            end: status.end_time.map(|time| time.0),
            ready: is_true(&status.conditions, "Ready"),
            ended: status.ended,
            spot: status.spot_access == Some(true),
            priority: status.priority.unwrap_or(0),
            notice,
            noticed: notice.map(|_| at),
            requeue: note(REQUEUE).as_deref() == Some("true"),
            follows: note(REQUEUED_FROM),
            refused,
            plan,
            planned: at,
            plan_before: None,
            group: LeaseGroup::of(&lease.metadata).and_then(Result::ok),
            known: at,
            granted: exporter.is_some().then_some(at),
            over: status.ended.then_some(at),
            exporter,
            lengths: lease.spec.duration.iter().map(ToString::to_string).collect(),
            overdue: 0,
            waited: 0,
            unplanned: 0,
            unmoved: 0,
            needless: 0,
            spec: lease.spec.clone(),
        }
    }

    /// Takes over what an earlier state knew.
    pub(super) fn remember(&mut self, old: &Self) {
        self.known = old.known;
        self.granted = old.granted.or(self.granted);
        self.over = old.over.or(self.over);
        if old.exporter.is_some() {
            (self.spot, self.priority) = (old.spot, old.priority);
        }
        self.lengths.extend(old.lengths.iter().cloned());
        if self.notice == old.notice {
            self.noticed = old.noticed;
        }
        (self.unmoved, self.needless, self.unplanned) = (old.unmoved, old.needless, old.unplanned);
        if self.plan == old.plan {
            self.planned = old.planned;
        }
        self.plan_before = if self.exporter.is_none() {
            self.plan.clone()
        } else {
            old.plan.clone().or_else(|| old.plan_before.clone())
        };
        self.group.clone_from(&old.group);
        self.waited = if self.exporter.is_none() { old.waited } else { 0 };
    }

    /// The exporter that it holds.
    pub(super) fn holds(&self) -> Option<&str> {
        self.exporter.as_deref().filter(|_| !self.ended)
    }

    /// Whether it waits for an exporter, whatever clock between these two dates is right.
    pub(super) fn waits(&self, (earliest, latest): (Timestamp, Timestamp)) -> bool {
        !self.ended
            && !self.release
            && !self.own
            && self.exporter.is_none()
            && self.spec.begin_time.as_ref().is_none_or(|begin| begin.0 <= earliest)
            && self.spec.end_time.as_ref().is_none_or(|end| end.0 > latest)
    }

    /// When it is to end.
    pub(super) fn due(&self) -> Option<Timestamp> {
        Some(lease_time::planned_end(&self.spec, self.begin?))
    }

    /// When it is to end, where that does not depend on when it begins.
    pub(super) fn planned_end(&self) -> Option<Timestamp> {
        let begin = self.spec.begin_time.as_ref()?;
        Some(lease_time::planned_end(&self.spec, begin.0))
    }

    /// Whether an exporter is to be reserved for it, and is not.
    pub(super) fn seeks_a_plan(&self) -> bool {
        self.spec.begin_time.is_some() && self.plan.is_none() && self.group.is_none()
    }

    pub(super) fn word(&self) -> &'static str {
        match (self.ended, self.refused, self.release, self.ready, &self.exporter) {
            (true, true, ..) => "refused",
            (true, ..) => "ended",
            (_, _, true, ..) => "released",
            (_, _, _, true, _) => "ready",
            (_, _, _, _, Some(_)) => "prepares",
            _ => "waits",
        }
    }

    /// The one exporter that it asks for.
    pub(super) fn pinned(&self) -> Option<&str> {
        self.spec.exporter_ref.as_ref().map(|pinned| pinned.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Whether an exporter of this name, labels and state is what it asks for.
    pub(super) fn wants(&self, name: &str, exporter: &ExporterFacts) -> bool {
        let pinned = self.pinned();
        let in_service = exporter.enabled && !exporter.kept.maybe();
        let allowed = in_service || pinned.is_some() && self.spec.allow_disabled == Some(true);
        allowed && self.asks_for(name, exporter)
    }

    /// The same, whether it is enabled or not: that may have changed a moment ago.
    pub(super) fn asks_for(&self, name: &str, exporter: &ExporterFacts) -> bool {
        self.pinned().is_none_or(|pinned| pinned == name) && self.selector.matches(&exporter.labels)
    }
}

/// An exporter as stored last, and what its process does.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, which objects keep apart, too")]
pub(super) struct ExporterFacts {
    /// Exporters of one kind have the same labels.
    pub(super) kind: usize,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) enabled: bool,
    pub(super) claim: Option<String>,
    pub(super) online: bool,
    pub(super) registered: bool,
    pub(super) phase: ExporterPhase,
    /// States with the number of the commit that made them.
    pub(super) phases: VecDeque<(u64, ExporterPhase)>,
    /// Leases that hold it.
    pub(super) holders: BTreeSet<String>,
    /// Free as far as the store says, since then.
    pub(super) free_since: Option<Duration>,
    /// Its process, and the sessions that are open there: lease and begin.
    pub(super) process: u64,
    pub(super) sessions: BTreeMap<u64, Session>,
    /// The sessions that were closed, of this process.
    pub(super) closed: BTreeSet<u64>,
    /// Hooks that ran, of this process.
    pub(super) hooks: BTreeSet<(u64, &'static str)>,
    /// It lied, or the way to it was broken, at that time.
    pub(super) disturbed: Option<Duration>,
    pub(super) lied: bool,
    /// When it said last that it leaves: whatever lease it holds when that arrives may end for it.
    pub(super) left: Option<Duration>,
    /// It does not tell what it has heard.
    pub(super) old: bool,
    /// When something has changed that decides who may have it.
    pub(super) altered: Duration,
    /// Whether it is kept back, and calm seconds for which nothing was done about one that need not be any more.
    pub(super) kept: Kept,
    pub(super) unlifted: u32,
}

impl ExporterFacts {
    /// Whether it says that it does nothing.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, ExporterPhase::Available | ExporterPhase::Unspecified)
    }
}

/// A session that is open.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) lease: String,
    /// Calm seconds for which it is open although its lease is over.
    pub(super) overdue: u32,
}

/// Somebody got a device before somebody who seems to have been first.
#[derive(Clone, Debug)]
pub(super) struct OrderDoubt {
    pub(super) at: Duration,
    pub(super) first: String,
    pub(super) served: String,
    pub(super) exporter: String,
}
