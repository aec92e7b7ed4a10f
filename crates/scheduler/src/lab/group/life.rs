//! The life of a group: its members come, get devices, begin together, and are leases like others from then on.

use jiff::SignedDuration;
use jumpstarter_model::{LeaseGroup, Timestamp, condition::lease as condition};

use super::{
    super::{Lab, lease::Entry, names::Name, times::later},
    shelves::values,
};
use crate::{Action, EndCause, RefusedAs};

/// How long the leases of a group may take to be created, counted from the last that was.
const GATHERING: SignedDuration = SignedDuration::from_mins(1);

impl Lab {
    /// Does what is due for a group.
    pub(in super::super) fn check_group(&mut self, group: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let members = self.members(group);
        let Some(leader) = members.first().and_then(|name| self.leases.get(name)) else {
            self.leave_line(group);
            self.drop_group(group);
            return;
        };
        let says = leader.group.as_ref().map(|member| member.says.clone());
        if self.any_member(group, |entry| entry.ready) {
            self.leave_line(group);
            return self.refuse_latecomers(group, &members, actions);
        }
        if self.any_member(group, |entry| entry.exporter.is_some()) {
            self.leave_line(group);
            let size = says.and_then(Result::ok).map_or(members.len(), |says| says.size);
            return self.check_start(group, &members, size, now, actions);
        }
        match says {
            Some(Ok(says)) => self.check_waiting_group(group, &says, &members, now, actions),
            Some(Err(fault)) => {
                // Without its first the group is what the next one says.
                self.refuse_member(&members[0], condition::GROUP_MISMATCH, fault, actions);
            }
            None => {}
        }
    }

    fn drop_group(&mut self, group: &Name) {
        if self.groups.by_name.get(group).is_some_and(|known| known.members.is_empty() && known.ended.is_empty()) {
            self.groups.by_name.remove(group);
        }
    }

    fn refuse_member(&mut self, name: &Name, reason: &str, message: String, actions: &mut Vec<Action>) {
        self.refuse(name, RefusedAs::Invalid, reason, message, actions);
    }

    fn refuse_latecomers(&mut self, group: &Name, members: &[Name], actions: &mut Vec<Action>) {
        for name in members {
            let idle = self.leases.get(name).is_some_and(|entry| entry.exporter.is_none());
            if idle && !self.claims.contains_key(name) && !self.open.has_lease(name) {
                let text =
                    format!("The group {group} has begun without this lease: use another name for another group");
                self.refuse_member(name, condition::GROUP_MISMATCH, text, actions);
            }
        }
    }

    /// Devices were given to members, and nobody may use them yet.
    fn check_start(&mut self, group: &Name, members: &[Name], size: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let has = |name: &&Name| {
            self.claims.contains_key(*name) || self.leases.get(*name).is_some_and(|entry| entry.exporter.is_some())
        };
        let (having, without): (Vec<_>, Vec<_>) = members.iter().partition(has);
        if having.len() < size {
            let text = condition::group_fell_apart(group);
            for name in members {
                if self.leases.get(name).is_some_and(|entry| entry.exporter.is_some()) {
                    self.end(name, EndCause::Released, text.clone(), actions);
                } else {
                    self.refuse_member(name, condition::GROUP_INCOMPLETE, text.clone(), actions);
                }
            }
            return;
        }
        let without = without.into_iter().cloned().collect::<Vec<_>>();
        self.refuse_latecomers(group, &without, actions);
        let is_ready = |name: &&Name| {
            let holds = self.leases.get(*name).is_some_and(|entry| entry.exporter.is_some());
            let stored = !self.open.has_lease(name) && !self.groups.completing.contains(*name);
            holds && stored && self.ready_at(name) <= now
        };
        if having.iter().all(is_ready) {
            for name in having {
                self.assume_ready(name);
                self.set_holders_timer(name, now);
                actions.push(Action::MakeReady { lease: name.to_string() });
            }
        }
    }

    /// Nobody has anything yet.
    fn check_waiting_group(
        &mut self,
        group: &Name,
        says: &LeaseGroup,
        members: &[Name],
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let members = self.refuse_strangers(group, says, members, actions);
        if members.len() < says.size {
            self.leave_line(group);
            self.give_back(&members, actions);
            return self.await_members(group, says, &members, now, actions);
        }
        for name in &members {
            let times = self.leases.get(name).map(|entry| entry.times.clone());
            let times = times.iter().flat_map(|times| [times.fixed_end(), times.begin()]).flatten();
            let wake = times.filter(|at| *at > now).min();
            self.set_timer(name, wake);
        }
        if !members.iter().any(|name| self.claims.contains_key(name)) {
            return self.enter_line(group, &members, &says.same);
        }
        self.leave_line(group);
        let written = members.iter().any(|name| {
            let exporters = self.claims.get(name);
            self.open.has_lease(name)
                || exporters.into_iter().flatten().any(|exporter| self.open.has_exporter(exporter))
        });
        if written {
            // Whoever settles that has the group looked at again.
            return;
        }
        match self.claims_in_full(says, &members, now) {
            Some(claims) => self.begin_group(&claims, now, actions),
            None => {
                self.give_back(&members, actions);
                self.enter_line(group, &members, &says.same);
            }
        }
    }

    /// Refuses who is not what the first member says the group is, and who comes when it has all of its members. Returns
    /// the others.
    fn refuse_strangers(
        &mut self,
        group: &Name,
        says: &LeaseGroup,
        members: &[Name],
        actions: &mut Vec<Action>,
    ) -> Vec<Name> {
        let mut ours: Vec<Name> = Vec::with_capacity(says.size);
        for name in members {
            let leader = ours.first().and_then(|leader| self.leases.get(leader));
            let Some(entry) = self.leases.get(name) else { continue };
            let fault = leader.and_then(|leader| disagreement(leader, entry));
            let fault = fault.or_else(|| {
                let text = format!("The group {group} has its {} leases already", says.size);
                (ours.len() == says.size).then_some(text)
            });
            match fault {
                None => ours.push(name.clone()),
                Some(fault) => self.refuse_member(name, condition::GROUP_MISMATCH, fault, actions),
            }
        }
        ours
    }

    /// Waits for the other members of a group, but not for ever, and not for those that are over.
    fn await_members(
        &mut self,
        group: &Name,
        says: &LeaseGroup,
        members: &[Name],
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let created = members.iter().filter_map(|name| Some(self.leases.get(name)?.age.created));
        let (first, last) = created.fold((None, None), |(first, last), at| {
            (Some(first.map_or(at, |first: Timestamp| first.min(at))), last.max(Some(at)))
        });
        let known = self.groups.by_name.get(group);
        let over = known.into_iter().flat_map(|known| &known.ended).filter(|(_, at)| Some(**at) >= first);
        let over = over.map(|(name, _)| name.clone()).min();
        let deadline = later(last.unwrap_or(now), GATHERING);
        let text = match over {
            Some(over) => condition::group_lost(group, &over),
            None if deadline <= now => condition::group_not_gathered(group, members.len(), says.size),
            None => {
                for name in members {
                    let wake = self.leases.get(name).and_then(|entry| entry.wake);
                    self.set_timer(name, wake.into_iter().chain([deadline]).min());
                    self.marked.reasons.insert(name.clone());
                }
                return;
            }
        };
        for name in members {
            self.refuse_member(name, condition::GROUP_INCOMPLETE, text.clone(), actions);
        }
    }

    /// Each member with the device that is claimed for it, if all are, and each claim still makes sense.
    fn claims_in_full(&self, says: &LeaseGroup, members: &[Name], now: Timestamp) -> Option<Vec<(Name, Name)>> {
        let mut claims = Vec::with_capacity(members.len());
        let mut equal = None;
        for name in members {
            let claimed = self.claims.get(name).filter(|claimed| claimed.len() == 1)?;
            let exporter = claimed.first()?;
            let (entry, bench) = (self.leases.get(name)?, self.exporters.get(exporter)?);
            let request = entry.request.as_ref().ok()?;
            let fits = entry.want.is_some()
                && bench.seen.online
                && request.is_about(exporter, &bench.seen.labels)
                && request.slot(bench).can_serve()
                && !self.holders.contains_key(exporter);
            let values = values(&says.same, &bench.seen.labels)?;
            let same = equal.get_or_insert_with(|| values.clone()) == &values;
            self.book
                .access(bench.scope, &entry.client, entry.times.requested(now))
                .rank_by_policy()
                .filter(|_| fits && same)?;
            claims.push((name.clone(), exporter.clone()));
        }
        self.quotas_allow(claims.iter().map(|(lease, exporter)| (lease, exporter)), now).then_some(claims)
    }

    /// Gives claimed devices to the members: from here on nothing is taken back silently.
    fn begin_group(&mut self, claims: &[(Name, Name)], now: Timestamp, actions: &mut Vec<Action>) {
        for (lease, exporter) in claims {
            let terms = self.leases.get(lease).zip(self.exporters.get(exporter)).and_then(|(entry, bench)| {
                self.book.access(bench.scope, &entry.client, entry.times.requested(now)).rank_by_policy()
            });
            let Some(rank) = terms else { continue };
            let ready = self.assume_assigned(lease, exporter, rank, now);
            actions.push(Action::CompleteClaim {
                exporter: exporter.to_string(),
                lease: lease.to_string(),
                priority: rank.priority.0,
                spot_access: rank.spot,
                ready,
            });
        }
    }

    /// Gives back what is claimed for members: nobody was told of it.
    fn give_back(&mut self, members: &[Name], actions: &mut Vec<Action>) {
        for lease in members {
            for exporter in self.claims.get(lease).cloned().unwrap_or_default() {
                if self.open.has_exporter(&exporter) || self.open.has_lease(lease) {
                    continue;
                }
                if let Some(entry) = self.leases.get_mut(lease) {
                    entry.begin = None;
                }
                self.set_claim(&exporter, None);
                self.marked.exporters.insert(exporter.clone());
                actions.push(Action::Unclaim { exporter: exporter.to_string(), lease: lease.to_string() });
            }
        }
    }
}

/// In what a lease differs from the first of its group.
fn disagreement(first: &Entry, entry: &Entry) -> Option<String> {
    let name = &first.age.name;
    let (Some(said), Some(says)) = (&first.group, &entry.group) else { return None };
    match (&said.says, &says.says) {
        (_, Err(fault)) => Some(fault.clone()),
        _ if first.client != entry.client => Some(format!(
            "The group {} belongs to the client {}, as its first lease {name} says, not to {}",
            said.group, first.client, entry.client
        )),
        (Ok(said), Ok(says)) if said.size != says.size => Some(format!(
            "The group {} has {} leases, as its first lease {name} says, not {}",
            said.name, said.size, says.size
        )),
        (Ok(said), Ok(says)) if said.same != says.same => Some(format!(
            "The labels that are to be equal within the group {} are [{}], as its first lease {name} says, not [{}]",
            said.name,
            said.same.join(", "),
            says.same.join(", ")
        )),
        _ if first.times.begin() != entry.times.begin() => Some(format!(
            "The group {} begins when its first lease {name} does, and this lease asks for another begin",
            said.group
        )),
        _ => None,
    }
}
