//! Serves groups, in line with single leases.
//!
//! A group comes where a lease of its rank and age would come: its rank is that of its worst member, its age that of its
//! first. When it is its turn, it is given devices for all of its members, or some are kept back for it, or it leaves
//! everything to those who come after it. Where it has different ranks at different devices, it has a turn with each.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{GoDuration, Timestamp, condition::lease as condition};

use super::{
    super::{
        Lab,
        access::Rank,
        names::{Age, Name},
        turn::Turn,
        want::WantId,
    },
    keep::{Keep, Standing},
    line::{Class, Line, Outlook},
};
use crate::Action;

/// A group, and the rank with which it makes do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct GroupTurn {
    standing: Standing,
    rank: Rank,
    /// Whether devices are kept back for it already, at a better rank.
    keeps: bool,
    group: Name,
}

impl GroupTurn {
    /// Whether it comes before a lease of this place in line.
    pub(in super::super) fn is_before(&self, turn: Turn, age: &Age) -> bool {
        (self.standing.turn, &self.standing.age) < (turn, age)
    }
}

impl Lab {
    /// Whether a free device is kept back from a lease of this place in line.
    pub(in super::super) fn is_kept_from(&self, exporter: &str, turn: Turn, age: &Age, now: Timestamp) -> bool {
        if self.groups.kept.is_empty() {
            return false;
        }
        let Some(entry) = self.leases.get(&age.name) else { return false };
        self.is_kept_until(exporter, &Standing { turn, age: age.clone() }, entry.times.end(now), now)
    }

    /// Whether a free device is kept back from somebody of this place in line who would have it until `ends`.
    pub(super) fn is_kept_until(&self, exporter: &str, standing: &Standing, ends: Timestamp, now: Timestamp) -> bool {
        let Some(keep) = self.groups.kept.get(exporter) else { return false };
        ends > keep.until && self.standing_of_keep(keep, now).is_some_and(|keeper| keeper < *standing)
    }

    /// Whether a lease that waits stands behind a group for which an exporter would be kept back, were it free.
    pub(in super::super) fn would_be_kept_from(&self, exporter: &str, age: &Age, now: Timestamp) -> bool {
        let known =
            || Some((self.exporters.get(exporter)?, self.leases.get(&age.name)?, self.turn_at(age, exporter, now)?));
        let Some((bench, entry, turn)) = known().filter(|_| !self.groups.by_name.is_empty()) else { return false };
        let wants = bench.wants.iter().filter_map(|id| self.wants.get(id));
        let mut ahead = wants.flat_map(|want| self.lines_ahead(want, turn, entry, now));
        ahead.any(|line| self.may_keep(line, now))
    }

    /// Whether devices may be kept back for a group in line: it is known when it can have all, and it may have so much.
    fn may_keep(&self, line: &Line, now: Timestamp) -> bool {
        let worst = self.ranks_in_line(line, now).last().copied();
        let outlook = worst.and_then(|worst| self.last_outlook(line, worst, now));
        outlook.is_some_and(|(_, outlook)| {
            outlook.last.class != Class::Unforeseen && self.can_afford(&line.group, &outlook, now)
        })
    }

    /// Whether some group in line could use an exporter.
    pub(in super::super) fn is_sought_by_groups(&self, exporter: &str) -> bool {
        let bench = self.exporters.get(exporter).filter(|_| !self.groups.by_name.is_empty());
        let mut wants = bench.into_iter().flat_map(|bench| &bench.wants).filter_map(|id| self.wants.get(id));
        wants.any(|want| !want.shelves.is_empty())
    }

    fn standing_of_keep(&self, keep: &Keep, now: Timestamp) -> Option<Standing> {
        self.standing(self.groups.line(&keep.group)?, keep.rank, now)
    }

    /// Has groups look again that want this.
    pub(in super::super) fn mark_groups_of(&mut self, id: WantId) {
        let Some(want) = self.wants.get(&id).filter(|want| !want.shelves.is_empty()) else { return };
        self.groups.turns.extend(want.shelves.groups().cloned());
    }

    /// The group for which a device is kept back, if it is.
    pub(in super::super) fn keeper(&self, exporter: &str) -> Option<&Name> {
        self.groups.kept.get(exporter).map(|keep| &keep.group)
    }

    /// Takes the members of groups out of those that seek a device for themselves, and has their groups seek instead.
    pub(in super::super) fn take_members(&mut self, seeking: &mut BTreeSet<Name>) {
        if self.groups.by_name.is_empty() {
            return;
        }
        let mut groups = BTreeSet::new();
        seeking.retain(|lease| {
            let Some(member) = self.leases.get(lease).and_then(|entry| entry.group.as_ref()) else { return true };
            groups.insert(member.group.clone());
            false
        });
        for group in groups {
            // What is kept for it was kept by a rank that it may not have any more.
            self.keep_nothing(&group);
            if let Some(line) = self.groups.line_mut(&group) {
                line.touch_all();
                self.groups.turns.insert(group);
            }
        }
    }

    /// Groups for which something has changed since the last call.
    pub(in super::super) fn add_turns(&mut self, turns: &mut BTreeSet<GroupTurn>, now: Timestamp) {
        for id in std::mem::take(&mut self.marked.shelved) {
            let Some(want) = self.wants.get_mut(&id) else { continue };
            for (group, touched) in want.shelves.take_touched() {
                if let Some(line) = self.groups.line_mut(&group) {
                    line.touch(&touched);
                    self.groups.turns.insert(group);
                }
            }
        }
        for group in std::mem::take(&mut self.groups.turns) {
            let Some(line) = self.groups.line(&group) else { continue };
            match self.ranks_in_line(line, now).first() {
                Some(rank) => {
                    let standing = self.standing(line, *rank, now);
                    self.groups.set_alarm(&group, None);
                    turns.extend(standing.map(|standing| GroupTurn { standing, rank: *rank, keeps: false, group }));
                }
                None => {
                    self.groups.set_alarm(&group, None);
                    self.mark_reasons_of(&group);
                    self.keep_nothing(&group);
                }
            }
        }
    }

    /// Lets a group have what there is for it, or keeps some of that back.
    pub(in super::super) fn take_turn(
        &mut self,
        turn: GroupTurn,
        turns: &mut BTreeSet<GroupTurn>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let GroupTurn { standing, rank, mut keeps, group } = turn;
        let Some(line) = self.groups.line(&group) else { return };
        let latest = self.standing(line, rank, now);
        if let Some(latest) = latest.filter(|latest| *latest > standing) {
            // What was given out since counts for shares.
            turns.insert(GroupTurn { standing: latest, rank, keeps, group });
            return;
        }
        let next = self.ranks_in_line(line, now).into_iter().find(|next| *next > rank);
        let next = next.and_then(|next| Some((next, self.standing(line, next, now)?)));
        let outlook = self.best_outlook(&group, rank, now);
        if outlook.is_none() || !self.book.quotas.is_empty() || !self.is_told_to_wait(&group) {
            self.mark_reasons_of(&group);
        }
        match outlook {
            // Nothing is kept for those who may not have so much at once.
            Some((_, outlook)) if !self.can_afford(&group, &outlook, now) => {
                let at = self.affords_from(&group, &outlook, now);
                self.groups.wake(&group, at);
            }
            Some((_, outlook)) if outlook.last.class == Class::Free => {
                return self.claim(&group, &outlook, now, actions);
            }
            Some((_, outlook)) if outlook.last.class == Class::Coming && !keeps => {
                self.keep(&group, rank, &outlook, now);
                keeps = true;
            }
            _ => {}
        }
        match next {
            Some((rank, standing)) => _ = turns.insert(GroupTurn { standing, rank, keeps, group }),
            None if !keeps => self.keep_nothing(&group),
            None => {}
        }
    }

    /// Has the members of a group told why they wait.
    fn mark_reasons_of(&mut self, group: &Name) {
        let line = self.groups.line(group).into_iter();
        self.marked.reasons.extend(line.flat_map(|line| &line.seekers).map(|(name, _)| name.clone()));
    }

    /// Whether all members know that there are devices for the group, which it has to wait for: while that is so, there is
    /// nothing else to tell them.
    fn is_told_to_wait(&self, group: &Name) -> bool {
        let told = |(name, _): &(Name, WantId)| {
            let entry = self.leases.get(name);
            entry.is_some_and(|entry| entry.pending.as_deref() == Some(condition::GROUP_NOT_AVAILABLE))
        };
        self.groups.line(group).is_some_and(|line| line.seekers.iter().all(told))
    }

    /// Whether quotas let the members have all of these devices at once.
    fn can_afford(&self, group: &Name, outlook: &Outlook, now: Timestamp) -> bool {
        let Some(line) = self.groups.line(group) else { return false };
        let pairs = line.seekers.iter().zip(&outlook.picks).map(|((lease, _), (_, exporter))| (lease, exporter));
        self.quotas_allow(pairs, now)
    }

    /// When one of the accounts of a group has the device time for all of it, if time alone brings that.
    fn affords_from(&self, group: &Name, outlook: &Outlook, now: Timestamp) -> Option<Timestamp> {
        let line = self.groups.line(group)?;
        let mut wanted = BTreeMap::<_, GoDuration>::new();
        for ((lease, _), (_, exporter)) in line.seekers.iter().zip(&outlook.picks) {
            let Some((entry, bench)) = self.leases.get(lease).zip(self.exporters.get(exporter)) else { continue };
            for (id, _) in self.book.rooms(bench.scope, &entry.client) {
                let sum = wanted.entry(id).or_insert(GoDuration::ZERO);
                *sum = sum.saturating_add(entry.times.requested(now));
            }
        }
        wanted.iter().filter_map(|(id, requested)| self.book.has_time_from(id, *requested, now)).min()
    }

    /// Whether quotas let leases have these exporters at once.
    pub(super) fn quotas_allow<'a>(&self, pairs: impl Iterator<Item = (&'a Name, &'a Name)>, now: Timestamp) -> bool {
        let mut purse = self.purse();
        let mut pairs = pairs.filter_map(|(lease, exporter)| self.leases.get(lease).zip(self.exporters.get(exporter)));
        pairs.all(|(entry, bench)| {
            let kind = entry.kind();
            let allowed = purse.allows(self, bench.scope, &kind, now);
            purse.take(self, bench.scope, &kind, now);
            allowed
        })
    }

    /// Claims a device for each member. They are completed when all are durable.
    fn claim(&mut self, group: &Name, outlook: &Outlook, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(line) = self.groups.line(group) else { return };
        let leases = line.seekers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        for (lease, (_, exporter)) in leases.iter().zip(&outlook.picks) {
            if let Some(entry) = self.leases.get_mut(lease) {
                // Others want to know until when.
                entry.begin = Some(now);
            }
            self.set_claim(exporter, Some(lease.clone()));
            actions.push(Action::Claim { lease: lease.to_string(), exporter: exporter.to_string() });
        }
        self.leave_line(group);
    }

    /// Keeps back what of an outlook is free, and nothing else.
    fn keep(&mut self, group: &Name, rank: Rank, outlook: &Outlook, now: Timestamp) {
        let Some(standing) = self.groups.line(group).and_then(|line| self.standing(line, rank, now)) else { return };
        let free = outlook.picks.iter().filter(|(turn, _)| turn.class == Class::Free);
        // One that is kept for a group ahead may be used until then, not kept.
        let ahead = |exporter: &&Name| {
            let keep = self.groups.kept.get(exporter).filter(|keep| keep.group != *group);
            keep.and_then(|keep| self.standing_of_keep(keep, now)).is_none_or(|keeper| keeper > standing)
        };
        let free = free.map(|(_, exporter)| exporter).filter(ahead).cloned().collect::<BTreeSet<_>>();
        let until = outlook.last.at;
        for exporter in &free {
            let keep = Keep { group: group.clone(), rank, until };
            let before = self.groups.kept.put(exporter.clone(), keep.clone());
            if before.as_ref() == Some(&keep) {
                continue;
            }
            self.touch_shelves(exporter);
            // Those from whom it was kept may have it after all.
            if before.is_some_and(|before| before.until < until || before.rank < rank) {
                self.marked.freed.insert(exporter.clone());
            }
        }
        self.keep_only(group, &free);
        let lapse = self.lapse(group, outlook, now);
        self.groups.wake(group, lapse);
    }

    /// When the first of the free devices of a group will not do any more, if nothing else happens: what is ahead of it, or
    /// the group ahead that it is kept for, comes before the lease would end.
    fn lapse(&self, group: &Name, outlook: &Outlook, now: Timestamp) -> Option<Timestamp> {
        let line = self.groups.line(group)?;
        let free = line.seekers.iter().zip(&outlook.picks).filter(|(_, (turn, _))| turn.class == Class::Free);
        let entries = free.filter_map(|((lease, _), (_, exporter))| self.leases.get(lease).zip(Some(exporter)));
        let lapses = entries.flat_map(|(entry, exporter)| {
            let keep = self.groups.kept.get(exporter).filter(|keep| keep.group != *group);
            let kept = keep.and_then(|keep| entry.times.ends_by(keep.until));
            [kept, self.fits_no_more(exporter, entry, now)]
        });
        lapses.flatten().filter(|at| *at > now).min()
    }

    fn keep_nothing(&mut self, group: &Name) {
        self.keep_only(group, &BTreeSet::new());
    }

    fn keep_only(&mut self, group: &Name, kept: &BTreeSet<Name>) {
        let Some(line) = self.groups.line_mut(group) else { return };
        let before = std::mem::replace(&mut line.kept, kept.clone());
        for exporter in before.difference(kept) {
            self.let_go(exporter, group);
        }
    }
}
