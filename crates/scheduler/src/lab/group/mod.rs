//! Groups: several leases that are served together or not at all.
//!
//! A group is what its members say of it: ordinary leases with a label and annotations ([`LeaseGroup`]); nothing of it
//! is stored elsewhere. It goes through these stages, each of which a new core reads off the objects:
//!
//! | stage | in the objects | what is done |
//! |---|---|---|
//! | gathering | fewer members than the group has | it waits a minute for the others, then all are refused |
//! | in line | all there, none has anything | [`line`]: devices are sought, some may be kept back for it |
//! | claiming | exporters are claimed for members | as soon as each claim is durable all are completed; if one failed, all are given back: nobody was told |
//! | starting | a member names its exporter | missing halves are completed; when all are ready, all are told; if one ends, all end |
//! | open | a member is ready | each is a lease like any other |
//!
//! Members that wait stand in no queue: the group stands in line as one.

mod keep;
mod life;
mod line;
mod matching;
pub(crate) mod shelves;
mod tell;
mod turn;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jumpstarter_model::{Lease, LeaseGroup, Timestamp, condition::lease as condition};

use super::{
    Lab,
    lease::Entry,
    names::{Age, Name},
};
use keep::Kept;
use line::Line;
pub(super) use turn::GroupTurn;

/// What a lease says of the group that it is in.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: Name,
    /// What it says, or why that makes no sense.
    pub(crate) says: Result<LeaseGroup, String>,
}

impl Member {
    pub(crate) fn of(lease: &Lease) -> Option<Box<Self>> {
        let says = LeaseGroup::of(&lease.metadata)?.map_err(|error| error.to_string());
        Some(Box::new(Self { group: LeaseGroup::name_of(&lease.metadata)?.into(), says }))
    }
}

/// One group.
#[derive(Debug, Default)]
struct Group {
    /// Members that have not ended, the first of which says what the group is.
    members: BTreeSet<Age>,
    /// Members that have ended, and when.
    ended: HashMap<Name, Timestamp>,
    /// Its place in line.
    line: Option<Line>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: HashMap<Name, Group>,
    /// What is kept back for groups.
    kept: Kept,
    /// Groups to be looked at.
    marked: BTreeSet<Name>,
    /// Groups in line for which something may have changed.
    turns: BTreeSet<Name>,
    /// Groups in line by client.
    clients: BTreeMap<Name, BTreeSet<Name>>,
    /// Members that are given a device in the decision that is being taken: it is still to be stored.
    completing: BTreeSet<Name>,
    /// When time alone changes what a group can have: something is ahead of what is kept back for it, or its accounts
    /// have room for it.
    alarms: BTreeSet<(Timestamp, Name)>,
}

impl Groups {
    /// Number of entries in the tables.
    pub(super) fn entries(&self) -> usize {
        self.by_name.values().map(|group| 1 + group.members.len() + group.ended.len()).sum::<usize>() + self.kept.len()
    }

    /// The next instant at which time alone changes something.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Has groups looked at for which it is time.
    pub(super) fn fire(&mut self, now: Timestamp) {
        while let Some((_, group)) = self.alarms.first().filter(|(at, _)| *at <= now).cloned() {
            self.set_alarm(&group, None);
            self.turns.insert(group);
        }
    }

    /// Notes that a member is given a device.
    pub(super) fn complete(&mut self, member: &Name) {
        self.completing.insert(member.clone());
    }

    /// After a decision, whose actions are open from then on.
    pub(super) fn end_decision(&mut self) {
        self.completing.clear();
    }

    /// Whether any group stands in line.
    pub(super) fn any_in_line(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Has all groups looked at that stand in line for some clients.
    pub(super) fn mark_lines_of(&mut self, concerns: impl Fn(&str) -> bool) {
        for (_, groups) in self.clients.iter().filter(|(client, _)| concerns(client)) {
            self.turns.extend(groups.iter().cloned());
        }
    }

    /// Has a group looked at by then.
    fn wake(&mut self, group: &Name, at: Option<Timestamp>) {
        let known = self.line(group).and_then(|line| line.alarm);
        self.set_alarm(group, known.into_iter().chain(at).min());
    }

    fn set_alarm(&mut self, group: &Name, at: Option<Timestamp>) {
        let Some(line) = self.line_mut(group) else { return };
        let before = std::mem::replace(&mut line.alarm, at);
        if before != at {
            self.alarms.extend(at.map(|at| (at, group.clone())));
            if let Some(before) = before {
                self.alarms.remove(&(before, group.clone()));
            }
        }
    }

    pub(super) fn mark(&mut self, group: &Name) {
        self.marked.insert(group.clone());
    }

    pub(super) fn pop_marked(&mut self) -> Option<Name> {
        self.marked.pop_first()
    }

    fn line_mut(&mut self, group: &str) -> Option<&mut Line> {
        self.by_name.get_mut(group)?.line.as_mut()
    }

    fn line(&self, group: &str) -> Option<&Line> {
        self.by_name.get(group)?.line.as_ref()
    }
}

impl Lab {
    /// The free exporters that are kept back, each with the group that it is kept for and until when a lease may have it
    /// meanwhile. It follows from the objects and the time.
    pub fn kept_back(&self) -> BTreeMap<String, (String, Timestamp)> {
        let kept = self.groups.kept.iter();
        kept.map(|(exporter, keep)| (exporter.to_string(), (keep.group.to_string(), keep.until))).collect()
    }

    /// Lets a member that is observed again keep what is only known here: since when it is being claimed for.
    pub(super) fn carry_claim_over(&self, known: &Entry, entry: &mut Entry) {
        if entry.group.is_some() && entry.exporter.is_none() && self.claims.contains_key(&entry.age.name) {
            entry.begin = entry.begin.or(known.begin);
        }
    }

    /// Notes a member that has not ended.
    pub(super) fn join_group(&mut self, entry: &Entry) {
        let Some(member) = &entry.group else { return };
        let group = self.groups.by_name.entry(member.group.clone()).or_default();
        group.ended.remove(&entry.age.name);
        group.members.insert(entry.age.clone());
        self.groups.mark(&member.group);
    }

    /// Notes that a member is no longer what it was.
    pub(super) fn leave_group(&mut self, entry: &Entry) {
        let Some(member) = &entry.group else { return };
        if let Some(group) = self.groups.by_name.get_mut(&member.group) {
            group.members.remove(&entry.age);
        }
        self.groups.mark(&member.group);
    }

    /// Notes a member that has ended, or is about to: its group never has it again.
    pub(super) fn note_ended_member(&mut self, group: &Name, lease: &Name, at: Timestamp) {
        self.groups.by_name.entry(group.clone()).or_default().ended.insert(lease.clone(), at);
        self.groups.mark(group);
    }

    /// Notes an ended lease if it was a member of a group.
    pub(super) fn observe_ended_member(&mut self, name: &Name, lease: &Lease) {
        let Some(group) = LeaseGroup::name_of(&lease.metadata).map(Name::from) else { return };
        let status = lease.status.as_ref();
        // It never was one: what it said was not what the group is.
        let stranger = |found: &jumpstarter_model::Condition| found.reason == condition::GROUP_MISMATCH;
        if status.is_some_and(|status| status.conditions.iter().any(stranger)) {
            return self.forget_ended_member(&group, name);
        }
        let at = status.and_then(|status| status.end_time.as_ref()).map_or(Timestamp::MIN, |end| end.0);
        self.note_ended_member(&group, name, at);
    }

    pub(super) fn forget_ended_member(&mut self, group: &Name, name: &Name) {
        if let Some(known) = self.groups.by_name.get_mut(group) {
            known.ended.remove(name);
            self.groups.mark(group);
        }
    }

    /// Live members of a group, the first of which says what it is.
    pub(super) fn members(&self, group: &str) -> Vec<Name> {
        let members = self.groups.by_name.get(group).map(|group| &group.members);
        members.into_iter().flatten().map(|age| age.name.clone()).collect()
    }

    /// Live members of all groups.
    pub(super) fn all_members(&self) -> impl Iterator<Item = Name> {
        self.groups.by_name.values().flat_map(|group| &group.members).map(|age| age.name.clone())
    }

    fn any_member(&self, group: &str, is: impl Fn(&Entry) -> bool) -> bool {
        let members = self.groups.by_name.get(group).into_iter().flat_map(|group| &group.members);
        members.filter_map(|age| self.leases.get(&age.name)).any(is)
    }

    /// Whether a lease may not be used yet although it holds a device, since its group has not got all of its own.
    pub(super) fn awaits_group(&self, entry: &Entry) -> bool {
        entry.group.as_ref().is_some_and(|member| !self.any_member(&member.group, |entry| entry.ready))
    }

    /// Whether nobody was told yet of what is claimed for this lease, since the whole group must have its devices first.
    pub(super) fn is_claiming(&self, entry: &Entry) -> bool {
        entry.group.as_ref().is_some_and(|member| !self.any_member(&member.group, |entry| entry.exporter.is_some()))
    }

    /// Has the group of a lease looked at, if it has one.
    pub(super) fn mark_group_of(&mut self, lease: &str) {
        if let Some(member) = self.leases.get(lease).and_then(|entry| entry.group.as_ref()) {
            self.groups.mark(&member.group);
        }
    }
}
