//! Groups in the answers to those who wait.

use jumpstarter_model::Timestamp;

use super::{
    super::{
        Lab,
        lease::Entry,
        names::{Age, Name},
        turn::Turn,
        want::{Want, WantId},
        why::Ask,
    },
    line::{Line, Offers},
};

impl Lab {
    /// The age by which a lease stands in line: that of its group, if it has one that does.
    pub(in super::super) fn age_in_line<'a>(&'a self, entry: &'a Entry) -> &'a Age {
        let line = entry.group.as_ref().and_then(|member| self.groups.line(&member.group));
        line.map_or(&entry.age, |line| &line.age)
    }

    /// Members of groups that want this and come before a lease of this rank.
    pub(in super::super) fn members_ahead<'a>(
        &'a self,
        want: &'a Want,
        turn: Turn,
        entry: &Entry,
        now: Timestamp,
    ) -> Vec<&'a Name> {
        self.lines_ahead(want, turn, entry, now).flat_map(|line| &line.seekers).map(|(name, _)| name).collect()
    }

    /// Whether a group comes before a lease at one of these exporters.
    pub(in super::super) fn any_group_ahead(&self, ask: &Ask<'_>, now: Timestamp) -> bool {
        if self.groups.by_name.is_empty() {
            return false;
        }
        let benches = ask.devices.iter().filter_map(|(name, (turn, _))| Some((self.exporters.get(name)?, *turn)));
        let wants = benches.flat_map(|(bench, turn)| bench.wants.iter().map(move |id| (*id, turn)));
        let wants = wants.collect::<std::collections::BTreeSet<_>>();
        let mut wants = wants.into_iter().filter_map(|(id, turn)| Some((self.wants.get(&id)?, turn)));
        wants.any(|(want, turn)| self.lines_ahead(want, turn, ask.entry, now).next().is_some())
    }

    pub(super) fn lines_ahead<'a>(
        &'a self,
        want: &'a Want,
        turn: Turn,
        entry: &Entry,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Line> {
        let own = entry.group.as_ref().map(|member| member.group.clone());
        let age = self.age_in_line(entry).clone();
        let others = want.shelves.groups().filter(move |group| own.as_ref() != Some(group));
        others.filter_map(|group| self.groups.line(group)).filter(move |line| {
            let best = self.ranks_in_line(line, now).first().copied();
            let best = best.and_then(|best| self.standing(line, best, now));
            best.is_some_and(|best| (best.turn, &best.age) < (turn, &age))
        })
    }

    /// Seconds until all devices are free that a group in line would use, in the place where that is soonest, by when each
    /// comes free. `None` where that is not known, or where quotas or what is ahead of devices have a say as well.
    pub(in super::super) fn group_begins(
        &self,
        group: &Name,
        comes_free: impl Fn(&Name) -> Option<i64>,
        now: Timestamp,
    ) -> Option<i64> {
        let line = self.groups.line(group)?;
        let capped = |(name, want): &(Name, WantId)| {
            let scopes = self.wants.get(want).into_iter().flat_map(|want| want.tally.keys()).map(|(scope, _)| *scope);
            let client = self.leases.get(name).map(|entry| &*entry.client);
            scopes.zip(std::iter::repeat(client)).any(|(scope, client)| {
                client.is_some_and(|client| !self.book.capped_accounts(scope, client).is_empty())
            })
        };
        if line.seekers.iter().any(capped) {
            return None;
        }
        let worst = self.ranks_in_line(line, now).last().copied();
        let offers = self.values_in_line(line).into_iter().map(|values| self.offers(line, values, worst, now));
        let offers = offers.collect::<Vec<_>>();
        let is_booked = |name: &Name| self.exporters.get(name).is_none_or(|bench| bench.booked);
        if offers.iter().flat_map(Offers::devices).any(is_booked) {
            return None;
        }
        offers.iter().filter_map(|offers| offers.soonest(line.seekers.len(), &comes_free)).min()
    }
}
