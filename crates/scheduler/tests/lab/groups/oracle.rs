//! What the rules say of groups and single leases in one line, computed the slow and obvious way: every group with every
//! choice of devices, every lease against every exporter, in the order of the line.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jumpstarter_model::{
    Exporter, ExporterPhase, Lease, LeaseGroup, Timestamp, condition::is_true, lease_time::planned_end,
};

use crate::{
    kit::World,
    oracle::{Pair, Rank, granted, is_free, suits, waits},
};

type Age = (Timestamp, Option<String>, String);
type Turn = (u8, Timestamp);
/// A place in line.
type Place = (Rank, Age);
/// Devices, and when each can be had.
type Picks = Vec<(Turn, String)>;

const FREE: u8 = 0;
const COMING: u8 = 1;
const UNFORESEEN: u8 = 2;

#[derive(Clone, Debug)]
struct Keep {
    standing: (Rank, Age),
    until: Timestamp,
    group: String,
}

/// Who stands in line.
enum Who {
    Lease { exporter: String },
    Group { name: String, first: bool, last: bool },
}

/// The state while devices are dealt out.
struct Deal<'a> {
    world: &'a World,
    /// Devices and when they can be had.
    turns: BTreeMap<String, Turn>,
    kept: BTreeMap<String, Keep>,
    served: BTreeSet<String>,
    given: BTreeSet<Pair>,
}

pub(super) fn age(lease: &Lease) -> Age {
    let metadata = &lease.metadata;
    (metadata.creation_timestamp.as_ref().unwrap().0, metadata.uid.clone(), metadata.name.clone().unwrap())
}

/// Groups of which all members wait and none has anything, with their members by age.
fn groups(world: &World) -> BTreeMap<String, Vec<&Lease>> {
    let mut groups: BTreeMap<String, Vec<&Lease>> = BTreeMap::new();
    for lease in world.leases.values().filter(|lease| !lease.is_ended()) {
        if let Some(name) = LeaseGroup::name_of(&lease.metadata) {
            groups.entry(name.to_owned()).or_default().push(lease);
        }
    }
    groups.retain(|_, members| {
        members.sort_by_key(|lease| age(lease));
        let says = LeaseGroup::of(&members[0].metadata).unwrap().unwrap();
        members.len() == says.size && members.iter().all(|lease| waits(lease, world.now))
    });
    groups
}

fn last_use(world: &World, name: &str) -> Timestamp {
    let ended = world.leases.values().filter(|lease| lease.is_ended() && lease.assigned_exporter() == Some(name));
    let ends = ended.filter_map(|lease| lease.status.as_ref()?.end_time.as_ref().map(|end| end.0));
    ends.max().unwrap_or(Timestamp::MIN)
}

fn turn(world: &World, name: &str, exporter: &Exporter) -> Turn {
    let status = exporter.status.clone().unwrap_or_default();
    let mut live = world.leases.values().filter(|lease| !lease.is_ended());
    let holder = live.find(|lease| lease.assigned_exporter() == Some(name));
    let online = is_true(&status.conditions, "Online") && is_true(&status.conditions, "Registered");
    let stuck = [ExporterPhase::Offline, ExporterPhase::BeforeLeaseHookFailed, ExporterPhase::AfterLeaseHookFailed];
    match holder {
        _ if !online => (UNFORESEEN, Timestamp::MIN),
        Some(lease) => {
            (COMING, planned_end(&lease.spec, lease.status.clone().unwrap_or_default().begin_time.unwrap().0))
        }
        None if is_free(world, name, exporter) => (FREE, last_use(world, name)),
        // Claimed for a lease that is over: to be repaired.
        None if status.lease_ref.is_some() => (UNFORESEEN, Timestamp::MIN),
        None if stuck.contains(&status.exporter_status.unwrap_or_default()) => (UNFORESEEN, Timestamp::MIN),
        None => (COMING, Timestamp::MIN),
    }
}

/// Who gets what now: single leases at once, members of groups as claims.
pub(super) fn outcome(world: &World) -> BTreeSet<Pair> {
    let turns = world.exporters.iter().map(|(name, exporter)| (name.clone(), turn(world, name, exporter)));
    let mut deal =
        Deal { world, turns: turns.collect(), kept: BTreeMap::new(), served: BTreeSet::new(), given: BTreeSet::new() };
    let groups = groups(world);
    let mut line: Vec<(Place, Reverse<bool>, Who, String)> = Vec::new();
    for lease in world.leases.values().filter(|lease| waits(lease, world.now)) {
        if LeaseGroup::name_of(&lease.metadata).is_some() {
            continue;
        }
        for (name, exporter) in world.exporters.iter().filter(|(_, exporter)| suits(lease, exporter)) {
            if let Some(rank) = granted(world, lease, exporter) {
                let who = Who::Lease { exporter: name.clone() };
                line.push(((rank, age(lease)), Reverse(false), who, lease.metadata.name.clone().unwrap()));
            }
        }
    }
    for (name, members) in &groups {
        let ranks = members.iter().map(|lease| deal.ranks(lease)).collect::<Vec<_>>();
        let Some(floor) = ranks.iter().map(|ranks| ranks.first().copied()).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let floor = *floor.iter().max().unwrap();
        let all = ranks.into_iter().flatten().filter(|rank| *rank >= floor).collect::<BTreeSet<_>>();
        let (first, last) = (*all.first().unwrap(), *all.last().unwrap());
        for rank in all {
            let who = Who::Group { name: name.clone(), first: rank == first, last: rank == last };
            line.push(((rank, age(members[0])), Reverse(true), who, String::new()));
        }
    }
    // A lease takes the exporter that was used longest ago first.
    line.sort_by_key(|(standing, group, who, _)| {
        let seat = match who {
            Who::Lease { exporter } => Some((deal.turns[exporter], exporter.clone())),
            Who::Group { .. } => None,
        };
        (standing.clone(), *group, seat)
    });
    let mut keeps = BTreeMap::new();
    let mut at = 0;
    while let Some((standing, _, who, lease)) = line.get(at) {
        at += 1;
        let before = deal.kept.len();
        match who {
            Who::Lease { exporter } => deal.serve(lease, exporter, standing),
            Who::Group { name, first, last } => {
                let flag = keeps.entry(name.clone()).or_insert(false);
                *flag &= !first;
                deal.serve_group(name, &groups[name], standing, flag, *last);
            }
        }
        if deal.kept.len() < before {
            // Those from whom it was kept come again.
            at = 0;
        }
    }
    deal.given
}

impl Deal<'_> {
    fn ranks(&self, lease: &Lease) -> BTreeSet<Rank> {
        let exporters = self.world.exporters.values().filter(|exporter| suits(lease, exporter));
        exporters.filter_map(|exporter| granted(self.world, lease, exporter)).collect()
    }

    fn is_kept_from(&self, exporter: &str, standing: &(Rank, Age), ends: Timestamp, own: Option<&str>) -> bool {
        let keep = self.kept.get(exporter);
        keep.is_some_and(|keep| own != Some(keep.group.as_str()) && keep.standing < *standing && ends > keep.until)
    }

    fn give(&mut self, lease: &str, exporter: &str) {
        let ends = planned_end(&self.world.leases[lease].spec, self.world.now);
        self.turns.insert(exporter.to_owned(), (COMING, ends));
        self.served.insert(lease.to_owned());
        self.given.insert((lease.to_owned(), exporter.to_owned()));
        // Whoever keeps it looks for something else.
        self.kept.remove(exporter);
    }

    fn serve(&mut self, lease: &str, exporter: &str, standing: &(Rank, Age)) {
        let ends = planned_end(&self.world.leases[lease].spec, self.world.now);
        if !self.served.contains(lease)
            && self.turns[exporter].0 == FREE
            && !self.is_kept_from(exporter, standing, ends, None)
        {
            self.give(lease, exporter);
        }
    }

    fn serve_group(&mut self, name: &str, members: &[&Lease], standing: &(Rank, Age), keeps: &mut bool, last: bool) {
        if self.served.contains(members[0].metadata.name.as_deref().unwrap()) {
            return;
        }
        let best = self.best(name, members, standing);
        match best {
            Some((_, picks)) if picks.iter().all(|(turn, _)| turn.0 == FREE) => {
                self.kept.retain(|_, keep| keep.group != name);
                for (lease, (_, exporter)) in members.iter().zip(picks) {
                    self.give(lease.metadata.name.as_deref().unwrap(), &exporter);
                }
            }
            Some((turn, picks)) if turn.0 == COMING && !*keeps => {
                self.kept.retain(|_, keep| keep.group != name);
                for (_, exporter) in picks.iter().filter(|(turn, _)| turn.0 == FREE) {
                    let keep = Keep { standing: standing.clone(), until: turn.1, group: name.to_owned() };
                    if self.kept.get(exporter).is_none_or(|other| other.standing > *standing) {
                        self.kept.insert(exporter.clone(), keep);
                    }
                }
                *keeps = true;
            }
            _ if last && !*keeps => self.kept.retain(|_, keep| keep.group != name),
            _ => {}
        }
    }

    /// The best choice of devices, and the turn of the last of them; the devices in the order of the members.
    fn best(&self, name: &str, members: &[&Lease], standing: &(Rank, Age)) -> Option<(Turn, Vec<(Turn, String)>)> {
        let same = LeaseGroup::of(&members[0].metadata).unwrap().unwrap().same;
        let values = |exporter: &str| -> Option<Vec<String>> {
            let labels = self.world.exporters[exporter].metadata.labels.clone().unwrap_or_default();
            same.iter().map(|key| labels.get(key).cloned()).collect()
        };
        let all = self.world.exporters.keys().filter_map(|exporter| values(exporter)).collect::<BTreeSet<_>>();
        let mut best: Option<(Turn, Vec<String>, Picks, Picks)> = None;
        for place in all {
            let mut choices = vec![Vec::new()];
            for lease in members {
                let ends = planned_end(&lease.spec, self.world.now);
                let usable = |exporter: &String| {
                    let object = &self.world.exporters[exporter];
                    values(exporter).as_ref() == Some(&place)
                        && suits(lease, object)
                        && granted(self.world, lease, object).is_some_and(|rank| rank <= standing.0)
                        && (self.turns[exporter].0 != FREE || !self.is_kept_from(exporter, standing, ends, Some(name)))
                };
                let usable = self.world.exporters.keys().filter(|exporter| usable(exporter)).collect::<Vec<_>>();
                choices = choices
                    .iter()
                    .flat_map(|choice: &Vec<(Turn, String)>| {
                        let rest = usable.iter().filter(|one| choice.iter().all(|(_, taken)| taken != **one));
                        rest.map(|one| {
                            let mut choice = choice.clone();
                            choice.push((self.turns[*one], (*one).clone()));
                            choice
                        })
                    })
                    .collect();
            }
            for choice in choices {
                let mut sorted = choice.clone();
                sorted.sort();
                let candidate = (sorted.last().unwrap().0, place.clone(), sorted, choice);
                if best.as_ref().is_none_or(|best| candidate < *best) {
                    best = Some(candidate);
                }
            }
        }
        best.map(|(turn, _, _, choice)| (turn, choice))
    }
}
