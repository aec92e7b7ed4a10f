//! Times at which exporters are spoken for: reservations of scheduled leases and maintenance windows.
//!
//! A reservation is *booked* when it is held here: no two on one exporter overlap. Which exporter a scheduled lease has
//! reserved, and for what time, is also written into its object, so that another core books the same. What is written
//! for the time that the lease still asks for counts first; see [`plan`].
//!
//! An exporter with anything ahead of it is *booked up*: whether a lease can have it depends on how long it lasts. All
//! others, in a lab that has no reservations all of them, are given out without a look at the calendar.

mod check;
mod fit;
mod plan;
mod windows;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::SignedDuration;
use jumpstarter_model::{Timestamp, lease_time::whole_second};

use super::{
    Lab,
    exporter::Usable,
    lease::Entry,
    names::Name,
    times::later,
    want::{Request, Slot, WantId, WantIndex},
};
use windows::Window;

/// A time at which an exporter is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stay {
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
}

/// An exporter and a time, as written into the object of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) exporter: Name,
    pub(crate) stay: Stay,
}

/// What is ahead of one exporter.
#[derive(Debug, Default)]
struct Agenda {
    /// No two overlap.
    reservations: BTreeSet<(Stay, Name)>,
    windows: BTreeSet<Name>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    agendas: HashMap<Name, Agenda>,
    /// Booked reservations by lease.
    booked: HashMap<Name, Plan>,
    /// Scheduled leases for which nothing is reserved.
    seekers: Seekers,
    /// Scheduled leases, and waiting ones with a reservation, by client.
    clients: HashMap<Name, BTreeSet<Name>>,
    windows: BTreeMap<Name, Window>,
    /// Ends of openings by window.
    alarms: BTreeSet<(Timestamp, Name)>,
    /// Windows that came or changed.
    news: BTreeSet<Name>,
    /// What tear-down gets between two reservations, and before a window.
    turnaround: SignedDuration,
}

/// Leases that look for an exporter to reserve, by what they want.
#[derive(Debug, Default)]
struct Seekers {
    index: WantIndex,
    ids: HashMap<Name, (WantId, Request)>,
    names: HashMap<WantId, Name>,
    counter: u64,
}

impl Stay {
    /// The time that a scheduled lease asks for; `None` when it is none.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let begin = entry.times.begin()?;
        let stay = Self { begin: whole_second(begin), end: entry.times.end(begin) };
        (stay.begin < stay.end).then_some(stay)
    }
}

impl Seekers {
    fn insert(&mut self, lease: &Name, request: &Request) {
        if self.ids.get(lease).is_some_and(|(_, known)| known.key == request.key) {
            return;
        }
        self.remove(lease);
        self.counter += 1;
        let id = WantId(self.counter);
        self.index.insert(id, request);
        self.names.insert(id, lease.clone());
        self.ids.insert(lease.clone(), (id, request.clone()));
    }

    fn remove(&mut self, lease: &Name) {
        if let Some((id, request)) = self.ids.remove(lease) {
            self.index.remove(id, &request);
            self.names.remove(&id);
        }
    }
}

impl Calendar {
    pub(super) fn new(turnaround: SignedDuration) -> Self {
        Self { turnaround: turnaround.max(SignedDuration::ZERO), ..Self::default() }
    }

    /// Number of entries in the tables.
    pub(super) fn entries(&self) -> usize {
        self.agendas.len() + self.booked.len() + self.seekers.ids.len() + self.windows.len()
    }

    /// Whether anything is ahead of an exporter.
    fn is_booked_up(&self, exporter: &str) -> bool {
        self.agendas.contains_key(exporter)
    }

    /// The booked reservation of a lease.
    pub(crate) fn booking(&self, lease: &str) -> Option<&Plan> {
        self.booked.get(lease)
    }

    /// The next instant at which time alone changes something.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The earliest reservation on an exporter that gets in the way of a stay there, others than that of `lease`.
    fn reservation_in(&self, exporter: &str, stay: Stay, lease: &str) -> Option<&(Stay, Name)> {
        let agenda = self.agendas.get(exporter)?;
        let reservations =
            agenda.reservations.iter().take_while(|(other, _)| other.begin < later(stay.end, self.turnaround));
        let mut in_the_way = reservations.filter(|(other, _)| later(other.end, self.turnaround) > stay.begin);
        in_the_way.find(|(_, name)| **name != *lease)
    }

    /// The lease whose reservation of an exporter runs now.
    pub(super) fn due(&self, exporter: &str, now: Timestamp) -> Option<&Name> {
        let reservations = self.agendas.get(exporter)?.reservations.iter();
        let mut begun = reservations.take_while(|(stay, _)| stay.begin <= now);
        begun.find(|(stay, _)| stay.end > now).map(|(_, lease)| lease)
    }
}

impl Lab {
    /// Whether anything is ahead of an exporter.
    pub(super) fn is_booked_up(&self, exporter: &str) -> bool {
        self.calendar.is_booked_up(exporter)
    }

    /// Books a reservation.
    fn book(&mut self, lease: &Name, plan: Plan) {
        self.unbook(lease);
        let agenda = self.calendar.agendas.entry(plan.exporter.clone()).or_default();
        agenda.reservations.insert((plan.stay, lease.clone()));
        self.refresh(&plan.exporter);
        // It may be nearer than what was ahead already.
        self.touch_shelves(&plan.exporter);
        self.calendar.booked.insert(lease.clone(), plan);
    }

    /// Takes a reservation out of the calendar: others may have that time now.
    fn unbook(&mut self, lease: &Name) {
        let Some(Plan { exporter, stay }) = self.calendar.booked.remove(lease) else { return };
        if let Some(agenda) = self.calendar.agendas.get_mut(&exporter) {
            agenda.reservations.remove(&(stay, lease.clone()));
        }
        self.open_up(&exporter);
    }

    /// After something that was ahead of an exporter is gone.
    fn open_up(&mut self, exporter: &Name) {
        let empty = |agenda: &Agenda| agenda.reservations.is_empty() && agenda.windows.is_empty();
        if self.calendar.agendas.get(exporter).is_some_and(empty) {
            self.calendar.agendas.remove(exporter);
        }
        self.refresh(exporter);
        if self.exporters.get(exporter).is_some_and(|bench| bench.usable == Usable::Free) {
            self.marked.freed.insert(exporter.clone());
        }
        self.marked.contest = true;
        self.touch_shelves(exporter);
        self.call_seekers(exporter);
    }

    /// Has everybody who looks for an exporter to reserve look at this one.
    fn call_seekers(&mut self, exporter: &str) {
        if self.calendar.seekers.ids.is_empty() {
            return;
        }
        let Some(bench) = self.exporters.get(exporter) else { return };
        for id in self.calendar.seekers.index.about(exporter, &bench.seen.labels) {
            self.marked.plans.extend(self.calendar.seekers.names.get(&id).cloned());
        }
    }

    /// Has everything be planned anew that has to do with an exporter: what it is, or who may have it, has changed.
    pub(super) fn plan_again(&mut self, exporter: &Name) {
        if let Some(agenda) = self.calendar.agendas.get(exporter) {
            self.marked.plans.extend(agenda.reservations.iter().map(|(_, lease)| lease.clone()));
        }
        self.call_seekers(exporter);
    }

    /// Has everything be planned anew.
    pub(super) fn plan_all_again(&mut self) {
        self.marked.plans.extend(self.calendar.booked.keys().chain(self.calendar.seekers.ids.keys()).cloned());
    }

    /// Has everything be planned anew that a client has asked for.
    pub(super) fn plan_again_for(&mut self, client: &str) {
        self.marked.plans.extend(self.calendar.clients.get(client).into_iter().flatten().cloned());
    }

    /// Whether a lease can use an exporter at some time, by what both are.
    fn is_reservable(&self, request: &Request, exporter: &str) -> bool {
        self.exporters.get(exporter).is_some_and(|bench| {
            request.is_about(exporter, &bench.seen.labels)
                && request.slot(bench).can_serve()
                && request.slot(bench) != Slot::Quarantined
        })
    }
}
