//! Groups of leases are served together or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;

use super::{Checker, ExporterFacts, LeaseFacts, facts::Age, spot::Matching};

/// What was stored so recently may not have been seen yet.
const FRESH: Duration = Duration::from_secs(5);
/// What groups have given up so recently may be taken to be kept back still.
const KEPT: Duration = Duration::from_secs(20);
/// Calm seconds for which some leases of a group may have what others have not.
const UNEVEN: u32 = 30;
/// Calm seconds for which a group may wait although devices for all of it are free and well.
const UNSERVED: u32 = 30;
/// Calm seconds for which a group may wait for leases that do not come: a minute, and time to write it down.
const UNGATHERED: u32 = 60 + 20;

/// One group, as its leases are stored.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Group {
    size: usize,
    same: Vec<String>,
    /// Leases that are stored.
    members: BTreeSet<String>,
    /// Its leases disagree, or somebody has taken one away by hand.
    odd: bool,
    /// One of its leases got a device at some time, and one was ready.
    begun: bool,
    open: bool,
    /// Somebody was told that all of it is created: until then it may be taken back.
    acknowledged: bool,
    /// When the last of its leases came.
    newest: Duration,
    /// Calm seconds for which it waits for its own leases, for devices that are there, or for all to have what some have.
    ungathered: u32,
    unserved: u32,
    uneven: u32,
}

/// Groups of leases.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<String, Group>,
    /// Those that wait, and those that have begun and are not all ready or all over.
    waiting: BTreeSet<String>,
    starting: BTreeSet<String>,
    /// When a group has waited last, while none does.
    waited: Option<Duration>,
}

impl Groups {
    /// Whether some group waits for devices.
    pub(super) fn any_waits(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Checker {
    fn group_of(&self, lease: &LeaseFacts) -> Option<&Group> {
        self.groups.by_name.get(&lease.group.as_ref()?.name)
    }

    fn members<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a String, &'a LeaseFacts)> {
        group.members.iter().filter_map(|name| Some((name, self.leases.get(name)?)))
    }

    fn live<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a String, &'a LeaseFacts)> {
        self.members(group).filter(|(_, lease)| !lease.ended && !lease.release)
    }

    /// The age of the first lease of the group that a lease is in.
    pub(super) fn first_of_group(&self, lease: &LeaseFacts) -> Option<Age> {
        self.members(self.group_of(lease)?).map(|(_, lease)| lease.created.clone()).min()
    }

    /// A lease was written: what does it do to its group?
    pub(super) fn in_group(&mut self, name: &str, old: Option<&LeaseFacts>) {
        let at = self.at();
        let Some(new) = self.leases.get(name) else { return };
        let Some(says) = new.group.clone() else { return };
        let (got, ready) = (new.exporter.is_some(), new.ready);
        let had = old.is_some_and(|old| old.exporter.is_some());
        let was_ready = old.is_some_and(|old| old.ready);
        let group = self.groups.by_name.entry(says.name.clone()).or_insert_with(|| Group {
            size: says.size,
            same: says.same.clone(),
            members: BTreeSet::new(),
            odd: false,
            begun: false,
            open: false,
            acknowledged: false,
            newest: at,
            ungathered: 0,
            unserved: 0,
            uneven: 0,
        });
        if group.members.insert(name.to_owned()) {
            group.newest = at;
            group.odd |= group.size != says.size || group.same != says.same || group.members.len() > group.size;
        }
        if got && !had {
            self.has_begun(&says.name, name);
        }
        if ready && !was_ready {
            self.is_open(&says.name, name);
        }
        self.sort_group(&says.name);
    }

    /// A lease of a group is no longer stored.
    pub(super) fn left_group(&mut self, name: &str, old: &LeaseFacts) {
        let Some(says) = &old.group else { return };
        let Some(group) = self.groups.by_name.get_mut(&says.name) else { return };
        group.members.remove(name);
        group.odd |= !old.ended;
        if group.members.is_empty() {
            self.groups.by_name.remove(&says.name);
        }
        self.sort_group(&says.name);
    }

    /// Notes what a group is up to.
    fn sort_group(&mut self, name: &str) {
        let group = self.groups.by_name.get(name).filter(|group| !group.odd);
        let live = group.map(|group| self.live(group).count()).unwrap_or_default();
        let waits = group.is_some_and(|group| !group.begun && live > 0);
        let starts = group.is_some_and(|group| {
            let all_ready = self.live(group).all(|(_, lease)| lease.ready);
            group.begun && live > 0 && !(group.open && all_ready)
        });
        if self.groups.waiting.contains(name) && !waits {
            self.groups.waited = Some(self.at());
        }
        let put = |index: &mut BTreeSet<String>, is: bool| {
            if is {
                index.insert(name.to_owned())
            } else {
                index.remove(name)
            };
        };
        put(&mut self.groups.waiting, waits);
        put(&mut self.groups.starting, starts);
    }

    /// A lease of a group names its device: one is claimed for each of the others by now.
    fn has_begun(&mut self, name: &str, lease: &str) {
        let Some(group) = self.groups.by_name.get_mut(name) else { return };
        group.begun = true;
        // Of two leaders one may give back what the other takes to be complete.
        if group.odd || self.services > 1 || self.is_replaced() {
            return;
        }
        let Some(group) = self.groups.by_name.get(name) else { return };
        let without =
            self.live(group).find(|(other, facts)| facts.exporter.is_none() && !self.claims.contains_key(*other));
        let text = if let Some((other, _)) = without {
            format!("{lease} of the group {name} has a device, and none is claimed for {other}")
        } else if group.members.len() < group.size {
            format!("{lease} has a device, and the group {name} has {} of {} leases", group.members.len(), group.size)
        } else if let Some(text) = self.differ(group) {
            format!("{lease} of the group {name}: {text}")
        } else {
            return;
        };
        let about: Vec<String> = group.members.iter().cloned().collect();
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        self.violation("together", text, &about);
    }

    /// What the devices of a group should have in common, and have not.
    fn differ(&self, group: &Group) -> Option<String> {
        let held = self.live(group).filter_map(|(_, lease)| self.exporters.get(lease.holds()?));
        let held: Vec<&ExporterFacts> = held.collect();
        let key =
            group.same.iter().find(|key| held.windows(2).any(|two| two[0].labels.get(*key) != two[1].labels.get(*key)));
        Some(format!("its devices differ in {}", key?))
    }

    /// A lease of a group is ready: all have devices, with the same begin.
    fn is_open(&mut self, name: &str, lease: &str) {
        let Some(group) = self.groups.by_name.get_mut(name) else { return };
        let first = !std::mem::replace(&mut group.open, true);
        if !first || group.odd || self.services > 1 || self.is_replaced() {
            return;
        }
        self.counts.groups += 1;
        let Some(group) = self.groups.by_name.get(name) else { return };
        let begins: BTreeSet<_> = self.live(group).map(|(_, lease)| lease.begin).collect();
        if begins.len() > 1 || begins.contains(&None) {
            let text = format!("{lease} of the group {name} is ready; its leases began at {begins:?}");
            self.violation("together", text, &[lease, name]);
        }
    }

    /// Somebody was told that a lease is created, and with it all of its group, if it is in one.
    pub(super) fn is_acknowledged(&mut self, lease: &str) {
        let group = self.leases.get(lease).and_then(|lease| lease.group.as_ref());
        if let Some(group) = group.and_then(|says| self.groups.by_name.get_mut(&says.name)) {
            group.acknowledged = true;
        }
    }

    /// Whether a lease may end since its group has never had all of its devices.
    pub(super) fn may_end_with_its_group(&self, name: &str, lease: &LeaseFacts) -> bool {
        let (Some(group), dates) = (self.group_of(lease), self.dates()) else { return false };
        let leaves =
            |facts: &LeaseFacts| facts.exporter.as_ref().and_then(|exporter| self.exporters.get(exporter)?.left);
        !group.open
            && (!group.acknowledged
                || group.members.len() < group.size
                || self.members(group).filter(|(other, _)| *other != name).any(|(other, facts)| {
                    facts.ended
                        || facts.release
                        || facts.notice.is_some()
                        || facts.due().is_some_and(|due| due <= dates.1)
                        || self.asked.releases.contains_key(other)
                        || leaves(facts).is_some()
                }))
    }

    /// Whether some group may have an exporter kept back for it, now or a moment ago.
    pub(super) fn may_be_kept_for_a_group(&self, exporter: &str) -> bool {
        let lately = self.groups.waited.is_some_and(|waited| self.at() < waited + KEPT);
        let groups = self.groups.waiting.iter().filter_map(|name| self.groups.by_name.get(name));
        lately || groups.flat_map(|group| self.members(group)).any(|(_, lease)| self.may_ask_for(lease, exporter))
    }

    /// A lease of a group was refused: rightly?
    pub(super) fn group_refused_rightly(&mut self, name: &str, lease: &LeaseFacts, why: &str) {
        let Some(group) = self.group_of(lease).filter(|group| !group.odd) else { return };
        let settled = self.is_calm() && self.clocks == (0, 0) && !self.is_replaced();
        let soon = self.dates().1 + SignedDuration::from_secs(2);
        let whole = group.members.len() == group.size
            && self.members(group).all(|(other, lease)| {
                // Whose end was asked for, or is due, may end a moment later.
                let due = lease.planned_end().is_some_and(|end| end <= soon);
                let asked = due || self.asked.releases.contains_key(other);
                !asked && (other == name || !lease.ended && !lease.release)
            });
        let old = self.at() > group.newest + FRESH + self.slack();
        let wrong = match why {
            "GroupIncomplete" => settled && whole && old && !group.begun,
            "GroupTooLarge" => settled && whole && self.plan.faults.edits == 0 && self.is_served_by(group, |_| true),
            _ => false,
        };
        if wrong {
            let text =
                format!("{name} was refused as {why}, although its group is complete and the lab has devices for it");
            self.violation("refused-rightly", text, &[name]);
        }
    }

    /// Whether there is an enabled exporter for each lease of a group among those that `may` be taken.
    fn is_served_by(&self, group: &Group, may: impl Fn(&str) -> bool) -> bool {
        let mut places: BTreeMap<Vec<&str>, BTreeSet<&str>> = BTreeMap::new();
        for (name, facts) in self.exporters.iter().filter(|(name, _)| may(name)) {
            let values = group.same.iter().map(|key| facts.labels.get(key).map(String::as_str));
            if let Some(values) = values.collect::<Option<Vec<_>>>() {
                places.entry(values).or_default().insert(name);
            }
        }
        places.values().any(|place| {
            let edges = self.members(group).map(|(name, lease)| {
                let fits = |exporter: &&str| {
                    self.exporters.get(*exporter).is_some_and(|facts| lease.wants(exporter, facts))
                        && self.grant(lease, exporter).is_some()
                };
                (name.as_str(), place.iter().copied().filter(fits).collect())
            });
            let matching = Matching { edges: edges.collect() };
            matching.served(place).len() == matching.edges.len()
        })
    }

    /// Once a second: groups are complete before long, wait for no more than they must, and come and go together.
    pub(super) fn goes_together(&mut self) {
        if self.groups.waiting.is_empty() && self.groups.starting.is_empty() || !self.is_calm() || self.is_replaced() {
            return;
        }
        let mut found = Vec::new();
        for name in self.groups.starting.clone() {
            self.is_even(&name, &mut found);
        }
        let alone = self.groups.waiting.len() == 1;
        for name in self.groups.waiting.clone() {
            let Some(group) = self.groups.by_name.get(&name) else { continue };
            let gathers = self.live(group).count() < group.size;
            let served = alone && !gathers && self.could_be_served(group);
            let skew = u32::try_from((self.clocks.1 - self.clocks.0) / 1_000).unwrap_or(0);
            let limits = (self.patience(UNGATHERED) + skew, self.patience(UNSERVED));
            let Some(group) = self.groups.by_name.get_mut(&name) else { continue };
            let count = |is: bool, seconds: u32| if is { seconds + 1 } else { 0 };
            group.ungathered = count(gathers, group.ungathered);
            group.unserved = count(served, group.unserved);
            if group.ungathered > limits.0 {
                found.push((name.clone(), format!("the group {name} waits for leases that do not come")));
            }
            if group.unserved > limits.1 {
                found.push((name.clone(), format!("the group {name} waits although there are devices for all of it")));
            }
        }
        for (name, text) in found {
            let members = self.groups.by_name.get(&name).map(|group| group.members.clone()).unwrap_or_default();
            let about: Vec<&str> = members.iter().map(String::as_str).collect();
            self.violation("together", text, &about);
        }
    }

    /// What some have all have, and until all are ready the end of one is the end of all.
    fn is_even(&mut self, name: &str, found: &mut Vec<(String, String)>) {
        let Some(group) = self.groups.by_name.get(name) else { return };
        let some_wait = self.live(group).any(|(_, lease)| lease.exporter.is_none());
        let some_over = self.members(group).any(|(_, lease)| lease.ended) || group.members.len() < group.size;
        let uneven = if group.open { some_wait } else { some_wait || some_over };
        let limit = self.patience(UNEVEN);
        let Some(group) = self.groups.by_name.get_mut(name) else { return };
        group.uneven = if uneven { group.uneven + 1 } else { 0 };
        if group.uneven > limit {
            found.push((name.to_owned(), format!("some leases of the group {name} have what others have not")));
        }
    }

    /// Whether there are devices for all of a group that nobody else may have a better claim on.
    fn could_be_served(&self, group: &Group) -> bool {
        let (at, dates) = (self.at(), self.dates());
        let waits = self
            .live(group)
            .all(|(name, lease)| lease.waits(dates) && !self.claims.contains_key(name) && !self.may_be_kept(lease));
        let well = |name: &str| {
            let facts = self.exporters.get(name).filter(|_| self.free.contains(name));
            facts.is_some_and(|facts| {
                facts.free_since.is_some_and(|since| at > since + Duration::from_secs(2))
                    && facts.disturbed.is_none_or(|until| at > until + Duration::from_mins(6))
                    && !facts.lied
                    && facts.sessions.is_empty()
                    && !self.live(group).any(|(member, lease)| self.may_be_in_the_way(member, lease, name))
            })
        };
        waits && at > self.service_since + Duration::from_mins(6) && self.is_served_by(group, well)
    }
}
