//! Why a lease waits, and when it is refused instead (kubernetes.md §3.3, §4.2).

use std::collections::BTreeSet;

use jumpstarter_model::{GoDuration, Timestamp, condition::lease as condition};

use super::{
    Lab,
    access::Access,
    calendar::Stay,
    lease::Entry,
    names::Name,
    quota::Keeps,
    want::{Seat, Slot, Want},
};
use crate::{Action, RefusedAs};

/// Reserved exporters that are looked at for one to name.
const LOOKED_AT: usize = 64;

/// Exporters of one kind, seen by one lease.
#[derive(Clone, Copy, Debug, Default)]
struct Group<'a> {
    count: usize,
    example: Option<&'a Name>,
}

impl<'a> Group<'a> {
    fn add(&mut self, count: usize, first: Option<&'a Seat>) {
        self.count += count;
        self.example = [self.example, first.map(|(_, name)| name)].into_iter().flatten().min();
    }

    fn example(&self) -> &str {
        self.example.map_or("", |name| name)
    }
}

/// All exporters that match, seen by one lease.
#[derive(Debug, Default)]
struct Census<'a> {
    mismatch: Group<'a>,
    disabled: Group<'a>,
    no_client: Group<'a>,
    denied: Group<'a>,
    too_long: Group<'a>,
    /// Longest duration that any rule admits.
    limit: Option<GoDuration>,
    /// Kept by a quota for now, or for ever, and connected.
    over: Group<'a>,
    /// How many a quota keeps for ever, connected or not.
    never: usize,
    offline: Group<'a>,
    quarantined: Group<'a>,
    leased: Group<'a>,
    not_ready: Group<'a>,
    booked: Group<'a>,
    free: Group<'a>,
}

impl Lab {
    /// Tells waiting leases why they wait, where that changed, and refuses new ones that have nothing to wait for.
    pub(super) fn check_reasons(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let mut names = std::mem::take(&mut self.marked.reasons);
        for want in std::mem::take(&mut self.marked.wants).iter().filter_map(|id| self.wants.get(id)) {
            names.extend(want.everybody().cloned());
        }
        for want in std::mem::take(&mut self.marked.shifted).iter().filter_map(|id| self.wants.get(id)) {
            names.extend(want.told_not_ready.iter().cloned());
        }
        self.refuse_excess(&names, actions);
        self.refuse_with_reservations(&names, now, actions);
        if self.opens_up_more() {
            // First those are served who can be now.
            self.marked.reasons.extend(names);
            return;
        }
        let mut groups = BTreeSet::new();
        for name in names {
            let Some((entry, want)) = self.waiting(&name) else { continue };
            if let Some(member) = &entry.group {
                groups.insert(member.group.clone());
                continue;
            }
            let census = self.census(entry, want, now);
            let fresh = entry.is_fresh();
            let (reason, fatal) = census.verdict(want, fresh);
            let told = entry.pending.as_deref().is_some_and(|told| stands(told, reason)) && !(fresh && fatal);
            let message = if told { String::new() } else { self.message(reason, &census, entry, want, now) };
            let wake = census.wake(entry, now);
            self.set_timer(&name, wake);
            if fresh && fatal {
                self.refuse(&name, RefusedAs::Unsatisfiable, reason, message, actions);
            } else if !told {
                self.assume_told(&name, reason);
                actions.push(Action::Wait { lease: name.to_string(), reason: reason.to_owned(), message });
            }
        }
        for group in groups {
            self.tell_group(&group, now, actions);
        }
    }

    /// Refuses those who give up a reservation by it.
    fn refuse_with_reservations(&mut self, names: &BTreeSet<Name>, now: Timestamp, actions: &mut Vec<Action>) {
        for name in names {
            if self.calendar.booking(name).is_none() {
                continue;
            }
            let Some((entry, want)) = self.waiting(name).filter(|(entry, _)| entry.is_fresh()) else { continue };
            let census = self.census(entry, want, now);
            if let (reason, true) = census.verdict(want, true) {
                let message = self.message(reason, &census, entry, want, now);
                self.refuse(name, RefusedAs::Unsatisfiable, reason, message, actions);
            }
        }
    }

    /// What is wrong with a member of a group by itself, if anything is: reason, message, and whether a new group is
    /// refused for it.
    pub(super) fn nothing_to_wait_for(
        &self,
        entry: &Entry,
        want: &Want,
        now: Timestamp,
    ) -> Option<(&'static str, String, bool)> {
        let census = self.census(entry, want, now);
        let (reason, fatal) = census.verdict(want, entry.is_fresh());
        (census.mismatch.count > 0 || census.granted() == 0)
            .then(|| (reason, self.message(reason, &census, entry, want, now), fatal))
    }

    /// When a waiting lease must be looked at again although nothing happens.
    pub(super) fn reason_wake(&self, entry: &Entry, want: &Want, now: Timestamp) -> Option<Timestamp> {
        self.census(entry, want, now).wake(entry, now)
    }

    fn assume_told(&mut self, name: &Name, reason: &str) {
        let Some(entry) = self.leases.get_mut(name) else { return };
        entry.pending = Some(reason.to_owned());
        let kind = entry.kind();
        let Some(want) = entry.want.and_then(|id| self.wants.get_mut(&id)) else { return };
        want.set_told_over(&kind, name, reason == condition::QUOTA_EXCEEDED);
        if reason == condition::NOT_READY {
            want.told_not_ready.insert(name.clone());
        } else {
            want.told_not_ready.remove(name);
        }
    }

    /// A waiting lease and its want.
    pub(super) fn waiting(&self, name: &str) -> Option<(&Entry, &Want)> {
        let entry = self.leases.get(name)?;
        Some((entry, self.wants.get(&entry.want?)?))
    }

    /// Reason and message of this moment for a waiting lease.
    pub(super) fn current_reason(&self, entry: &Entry, want: &Want, now: Timestamp) -> (&'static str, String) {
        if let Some(told) = self.group_reason(entry, now) {
            return told;
        }
        let census = self.census(entry, want, now);
        let (reason, _) = census.verdict(want, entry.is_fresh());
        (reason, self.message(reason, &census, entry, want, now))
    }

    fn census<'a>(&self, entry: &Entry, want: &'a Want, now: Timestamp) -> Census<'a> {
        let requested = entry.times.requested(now);
        let mut census = Census::default();
        for ((scope, slot), names) in &want.tally {
            let group = match slot {
                Slot::Mismatch => &mut census.mismatch,
                Slot::Disabled => &mut census.disabled,
                Slot::Offline
                | Slot::Quarantined
                | Slot::Leased
                | Slot::Spot
                | Slot::Returning
                | Slot::NotReady
                | Slot::Booked
                | Slot::Free => match (self.book.access(*scope, &entry.client, requested), slot) {
                    (Access::NoClient, _) => &mut census.no_client,
                    (Access::Denied, _) => &mut census.denied,
                    (Access::TooLong(limit), _) => {
                        census.limit = census.limit.max(Some(limit));
                        &mut census.too_long
                    }
                    (Access::OverQuota(_, keeps), slot) => {
                        census.never += if keeps == Keeps::ForEver { names.len() } else { 0 };
                        if *slot == Slot::Offline { &mut census.offline } else { &mut census.over }
                    }
                    (_, Slot::Quarantined) => &mut census.quarantined,
                    (_, Slot::Leased | Slot::Spot) => &mut census.leased,
                    (_, Slot::Returning | Slot::NotReady) => &mut census.not_ready,
                    (_, Slot::Booked) => &mut census.booked,
                    (_, Slot::Free) => &mut census.free,
                    (_, Slot::Offline | Slot::Mismatch | Slot::Disabled) => &mut census.offline,
                },
            };
            group.add(names.len(), names.first());
        }
        census
    }

    fn message(&self, reason: &str, census: &Census<'_>, entry: &Entry, want: &Want, now: Timestamp) -> String {
        let pinned = want.request.pinned.as_deref().unwrap_or_default();
        match reason {
            condition::EXPORTER_NOT_FOUND => condition::exporter_not_found(pinned),
            condition::SELECTOR_MISMATCH => condition::selector_mismatch(pinned, &want.request.selector.to_string()),
            condition::EXPORTER_DISABLED => condition::exporter_disabled(pinned),
            condition::NOT_FOUND => condition::not_found(&want.request.selector.to_string()),
            condition::ALL_DISABLED => condition::all_disabled(census.disabled.count),
            condition::OFFLINE => condition::none_online(census.granted(), census.offline.example()),
            condition::QUARANTINED => {
                condition::all_quarantined(census.quarantined.count, census.quarantined.example())
            }
            condition::NOT_READY => condition::none_ready(census.not_ready.count, census.not_ready.example()),
            condition::NOT_AVAILABLE => condition::all_leased(census.leased.count, census.leased.example()),
            condition::QUEUED => condition::queued(census.free.count),
            condition::QUOTA_EXCEEDED => self.over_quota(entry, want, now),
            condition::RESERVED => {
                let stay = Stay { begin: now, end: entry.times.end(now) };
                let obstacle = |name: &str| self.obstacle(name, stay, &entry.age.name, &entry.client);
                let example = obstacle(census.booked.example()).or_else(|| {
                    let booked = want.tally.iter().filter(|((_, slot), _)| *slot == Slot::Booked);
                    let booked = booked.flat_map(|(_, seats)| seats).map(|(_, name)| name).collect::<BTreeSet<_>>();
                    booked.into_iter().take(LOOKED_AT).find_map(|name| obstacle(name))
                });
                // One that would fit is kept back for a group.
                example.map_or_else(
                    || condition::queued(1),
                    |found| condition::reserved(census.booked.count, &found.exporter, &found.to_string()),
                )
            }
            _ => self.no_access(census, entry, want, now),
        }
    }

    /// The first quota that keeps a lease, one that keeps it for ever before others.
    fn over_quota(&self, entry: &Entry, want: &Want, now: Timestamp) -> String {
        let scopes = want.tally.keys().filter(|(_, slot)| slot.can_serve());
        let over = scopes.filter_map(|(scope, _)| self.book.over(*scope, &entry.client, entry.times.span(), now));
        over.min().map(|over| over.message).unwrap_or_default()
    }

    fn no_access(&self, census: &Census<'_>, entry: &Entry, want: &Want, now: Timestamp) -> String {
        let scopes = want.tally.keys().filter(|(_, slot)| *slot != Slot::Disabled).map(|(scope, _)| *scope);
        let refusals = self.book.refusals(scopes, &entry.client);
        let mut message = condition::no_access(census.enabled(), refusals);
        if census.no_client.count > 0 {
            message = format!("{message}. The client {} does not exist", entry.client);
        }
        if let Some(limit) = census.limit {
            let requested = entry.times.requested(now);
            message =
                format!("{message}. The longest lease that policies allow is {limit}, this one asks for {requested}");
        }
        message
    }
}

impl Census<'_> {
    fn wake(&self, entry: &Entry, now: Timestamp) -> Option<Timestamp> {
        let fits_from = self.limit.and_then(|limit| entry.times.fits_from(limit)).filter(|at| *at > now);
        entry.times.fixed_end().into_iter().chain(fits_from).min()
    }

    fn granted(&self) -> usize {
        let held = self.leased.count + self.not_ready.count + self.over.count;
        self.offline.count + self.quarantined.count + held + self.booked.count + self.free.count
    }

    fn enabled(&self) -> usize {
        self.granted() + self.no_client.count + self.denied.count + self.too_long.count
    }

    /// The reason to wait, and whether a new lease is refused for it.
    fn verdict(&self, want: &Want, fresh: bool) -> (&'static str, bool) {
        let pinned = want.request.pinned.is_some();
        if self.mismatch.count > 0 {
            (condition::SELECTOR_MISMATCH, true)
        } else if self.disabled.count + self.enabled() == 0 {
            match (pinned, fresh) {
                (true, _) => (condition::EXPORTER_NOT_FOUND, true),
                (false, true) => (condition::NO_ACCESS, true),
                (false, false) => (condition::NOT_FOUND, false),
            }
        } else if self.enabled() == 0 {
            if pinned { (condition::EXPORTER_DISABLED, true) } else { (condition::ALL_DISABLED, false) }
        } else if self.granted() == 0 {
            // A client that does not exist may be on its way.
            (condition::NO_ACCESS, self.no_client.count == 0)
        } else if fresh && self.never == self.granted() {
            (condition::QUOTA_EXCEEDED, true)
        } else if self.booked.count > 0 {
            // What is left of these by now ends too late for it.
            (condition::RESERVED, false)
        } else if self.free.count > 0 {
            // Kept back for a group, or only seen before the decision that gives it out.
            (condition::QUEUED, false)
        } else if self.not_ready.count > 0 {
            (condition::NOT_READY, false)
        } else if self.leased.count > 0 {
            (condition::NOT_AVAILABLE, false)
        } else if self.over.count > 0 {
            (condition::QUOTA_EXCEEDED, false)
        } else if self.quarantined.count > 0 {
            (condition::QUARANTINED, false)
        } else {
            (condition::OFFLINE, false)
        }
    }
}

/// Whether a lease that was told one thing need not be told the other. Between two leases a device passes through phases
/// that are neither leased nor free, and an account at its cap comes away from it and back. To those who wait it stays
/// what it was: else every turn would rewrite every waiting lease, twice.
fn stands(told: &str, reason: &str) -> bool {
    told == reason
        || matches!(
            (told, reason),
            // What is kept back for a group is still not available to those who wait.
            (condition::NOT_AVAILABLE, condition::NOT_READY | condition::QUEUED)
                | (condition::QUEUED, condition::NOT_AVAILABLE | condition::NOT_READY | condition::RESERVED)
                | (
                    condition::QUOTA_EXCEEDED,
                    condition::NOT_AVAILABLE | condition::NOT_READY | condition::QUEUED | condition::RESERVED
                )
        )
}
