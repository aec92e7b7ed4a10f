//! The state machine.

mod access;
mod benches;
mod calendar;
mod claims;
mod contest;
mod explain;
mod exporter;
mod follow;
mod group;
mod health;
mod lease;
mod lifecycle;
mod names;
mod observe;
mod open;
mod queue;
mod quota;
mod serve;
mod times;
mod turn;
mod waiting;
mod want;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jumpstarter_model::Timestamp;

use crate::{Action, Change, Decisions, LabConfig};
use access::AccessBook;
use calendar::Calendar;
use exporter::Bench;
use follow::Successors;
use group::Groups;
use health::Health;
use lease::Entry;
use names::Name;
use open::Open;
use quota::Quotas;
pub use quota::tally;
use want::{LabelIndex, Shift, Want, WantId, WantIndex};
use why::History;

/// Indexed state of exporters, leases, policies and clients.
///
/// Observations mark what they touch; [`Lab::decide`] looks at what is marked and at nothing else, so that the cost of
/// an event depends on the leases and exporters that it concerns, not on the size of the lab.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,

    exporters: BTreeMap<Name, Bench>,
    labels: LabelIndex,
    /// Exporters that owe a tear-down, known or not.
    tear_downs: HashSet<Name>,
    /// Ends of the last leases of exporters, known or not.
    last_use: HashMap<Name, Timestamp>,
    /// Live leases by the exporter in their `exporterRef`, existing or not.
    holders: HashMap<Name, BTreeSet<Name>>,
    /// Exporters by the lease in their `leaseRef`, existing or not.
    claims: HashMap<Name, BTreeSet<Name>>,

    leases: HashMap<Name, Entry>,
    /// Waiting leases by client.
    clients: HashMap<Name, BTreeSet<Name>>,
    timers: BTreeSet<(Timestamp, Name)>,

    /// Holders of spot that were told to make way.
    noticed: BTreeSet<Name>,
    /// Wants of which somebody waits who has the better right to an exporter that is held as spot.
    demand: BTreeSet<WantId>,
    successors: Successors,
    groups: Groups,
    calendar: Calendar,

    book: AccessBook,
    /// What ended leases teach about the time that leases use.
    history: History,

    /// Who is quarantined, checked, and watched for that.
    health: Health,

    wants: HashMap<WantId, Want>,
    want_ids: HashMap<String, WantId>,
    want_index: WantIndex,
    idle_wants: BTreeSet<(u64, WantId)>,
    /// Source of want ids and idle stamps.
    counter: u64,

    marked: Marked,
    open: Open,
}

/// What the next decision must look at.
#[derive(Debug, Default)]
struct Marked {
    /// Quotas changed: everything.
    quotas: bool,
    /// Exporters whose claim must be checked and which may be served if free.
    exporters: BTreeSet<Name>,
    /// Leases whose life must be checked.
    leases: BTreeSet<Name>,
    /// Ended leases without their label.
    unlabelled: BTreeSet<Name>,
    /// Exporters that may have become free.
    freed: BTreeSet<Name>,
    /// Waiting leases that may have come within reach of a free exporter.
    seeking: BTreeSet<Name>,
    /// Waiting leases whose reason must be checked.
    reasons: BTreeSet<Name>,
    /// Exporters whose health must be looked at.
    health: BTreeSet<Name>,
    /// Wants whose leases may have another reason.
    wants: BTreeSet<WantId>,
    /// Wants of which only leases that were told that no exporter is ready may have another reason.
    shifted: BTreeSet<WantId>,
    /// Wants of waiting groups of which an exporter moved.
    shelved: BTreeSet<WantId>,
    /// Wants that may have come into demand, or out of it.
    demand: BTreeSet<WantId>,
    /// Leases whose reservation must be checked or found.
    plans: BTreeSet<Name>,
    /// Whether anything happened that means something to those who may have to make way.
    contest: bool,
}

impl Marked {
    fn shift(&mut self, id: WantId, shift: Shift, want: &mut Want) {
        if std::mem::take(&mut want.spots_changed) {
            self.demand.insert(id);
        }
        self.contest |= shift != Shift::None;
        if shift != Shift::None && !want.shelves.is_empty() {
            self.shelved.insert(id);
        }
        match shift {
            Shift::None | Shift::Reordered => {}
            Shift::Inside => _ = self.shifted.insert(id),
            Shift::Outline => _ = self.wants.insert(id),
        }
    }
}

impl Lab {
    /// An empty lab.
    pub fn new(config: LabConfig) -> Self {
        let book = AccessBook::new(Quotas::new(config.share_half_life));
        let calendar = Calendar::new(config.turnaround);
        Self {
            config,
            calendar,
            exporters: BTreeMap::new(),
            labels: LabelIndex::default(),
            tear_downs: HashSet::new(),
            last_use: HashMap::new(),
            holders: HashMap::new(),
            claims: HashMap::new(),
            leases: HashMap::new(),
            clients: HashMap::new(),
            timers: BTreeSet::new(),
            noticed: BTreeSet::new(),
            demand: BTreeSet::new(),
            successors: Successors::default(),
            book,
            groups: Groups::default(),
            history: History::default(),
            health: Health::default(),
            wants: HashMap::new(),
            want_ids: HashMap::new(),
            want_index: WantIndex::default(),
            idle_wants: BTreeSet::new(),
            counter: 0,
            marked: Marked::default(),
            open: Open::default(),
        }
    }

    /// Takes note of one fact. Idempotent; replaces whatever was assumed of that object. While a write of the object is
    /// open, the assumption stands and the fact is passed over: see [`Lab::settle`].
    pub fn observe(&mut self, change: Change<'_>) {
        if self.open.holds_back(&change) {
            return;
        }
        match change {
            Change::Exporter(exporter) => self.observe_exporter(exporter),
            Change::ExporterDeleted(name) => self.forget_exporter(name),
            Change::Lease(lease) => self.observe_lease(lease),
            Change::LeaseDeleted(name) => self.forget_lease(name),
            Change::Policy(policy) => self.observe_policy(policy),
            Change::PolicyDeleted(name) => self.forget_policy(name),
            Change::Quota(quota) => self.observe_quota(quota),
            Change::QuotaDeleted(name) => self.forget_quota(name),
            Change::Window(window) => self.observe_window(window),
            Change::WindowDeleted(name) => self.forget_window(name),
            Change::Client(client) => self.observe_client(client),
            Change::ClientDeleted(name) => self.forget_client(name),
            Change::TearDown { exporter, pending } => self.observe_tear_down(exporter, pending),
        }
    }

    /// Says what to write now. Its own actions are assumed to succeed and are open until [`Lab::settle`] is told that
    /// their outcome is known, so that a second call neither repeats them nor gives a device out twice. Actions that
    /// name the same object must be carried out in the order in which they were decided.
    pub fn decide(&mut self, now: Timestamp) -> Decisions {
        let mut actions = Vec::new();
        let stale = self.book.quotas.set_now(now);
        if std::mem::take(&mut self.marked.quotas) {
            self.apply_everything();
        } else {
            if stale {
                self.recount();
            }
            self.apply_policies();
        }
        self.fire_timers(now);
        self.book.quotas.fire();
        self.turn_windows(now);
        self.groups.fire(now);
        self.book_plans(now);
        let unlabelled = std::mem::take(&mut self.marked.unlabelled);
        actions.extend(unlabelled.into_iter().map(|name| Action::Label { lease: name.to_string() }));

        self.check_health(now, &mut actions);
        // Each lease that is preempted frees an exporter, and whoever is served elsewhere or refused gives up what it has
        // reserved, so this comes to an end.
        loop {
            self.check_marked(now, &mut actions);
            self.make_plans(now, &mut actions);
            self.check_quotas(now);
            self.serve(now, &mut actions);
            self.check_quotas(now);
            if self.settle_contest(now, &mut actions) || self.opens_up_more() {
                continue;
            }
            self.check_reasons(now, &mut actions);
            // Those who were refused wait on no account.
            self.check_quotas(now);
            if !self.opens_up_more() {
                break;
            }
        }
        for action in &actions {
            self.open.open(action);
        }
        self.groups.end_decision();
        let timer = self.timers.first().map(|(at, _)| *at);
        let others =
            [self.book.quotas.wake_at(), self.health.wake_at(), self.calendar.wake_at(), self.groups.wake_at()];
        Decisions { actions, wake_at: timer.into_iter().chain(others.into_iter().flatten()).min() }
    }

    /// Number of entries in the tables: in proportion to live objects and to what waiting leases could have.
    pub fn entries(&self) -> usize {
        let indexed = self.holders.len() + self.claims.len() + self.tear_downs.len() + self.clients.len();
        let counted = self.book.quotas.entries() + self.open.entries() + self.groups.entries();
        let counted = counted + self.health.entries();
        let counted = counted + self.calendar.entries();
        self.exporters.len() + self.leases.len() + self.timers.len() + self.wants.len() + indexed + counted
    }

    /// Whether something that was reserved was given up since exporters were given out.
    fn opens_up_more(&self) -> bool {
        !self.marked.plans.is_empty() || !self.marked.freed.is_empty()
    }

    /// Claims come first: a half-written one decides whether its lease waits at all. Ending a lease marks its exporter, so
    /// this goes on until nothing is marked.
    fn check_marked(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        loop {
            if let Some(name) = self.marked.exporters.pop_first() {
                self.check_claim(&name, now, actions);
            } else if let Some(name) = self.marked.leases.pop_first() {
                self.check_lease(&name, now, actions);
            } else if let Some(group) = self.groups.pop_marked() {
                self.check_group(&group, now, actions);
            } else {
                return;
            }
        }
    }

    fn fire_timers(&mut self, now: Timestamp) {
        while let Some((at, name)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, name));
                return;
            }
            if let Some(entry) = self.leases.get_mut(&name) {
                entry.wake = None;
            }
            self.marked.leases.insert(name);
        }
    }

    /// Sets or clears the one timer of a lease.
    fn set_timer(&mut self, name: &Name, at: Option<Timestamp>) {
        let Some(entry) = self.leases.get_mut(name) else { return };
        if entry.wake == at {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.wake, at) {
            self.timers.remove(&(old, name.clone()));
        }
        if let Some(at) = at {
            self.timers.insert((at, name.clone()));
        }
    }
}
