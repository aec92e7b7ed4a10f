//! Why a group waits, and when it is refused instead.

use std::collections::BTreeSet;

use jumpstarter_model::{Timestamp, condition::lease as condition};

use super::{
    super::{Lab, lease::Entry, names::Name, want::Request},
    line::{Class, Line, Outlook},
    shelves::Values,
};
use crate::{Action, RefusedAs};

/// Values of labels that are named in a message.
const NAMED: usize = 3;

/// What to tell all members.
struct Verdict {
    reason: &'static str,
    message: String,
    /// Whether a group is refused for it that was never told to wait.
    fatal: bool,
}

impl Lab {
    /// Tells the members of a group why they wait, where that changed, or refuses all of them.
    pub(in super::super) fn tell_group(&mut self, group: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(verdict) = self.verdict_on_group(group, now) else { return };
        let members = self.members(group);
        let entries = || members.iter().filter_map(|name| self.leases.get(name));
        if verdict.fatal && entries().all(Entry::is_fresh) {
            self.leave_line(group);
            for name in &members {
                let Verdict { reason, message, .. } = &verdict;
                self.refuse(name, RefusedAs::Unsatisfiable, reason, message.clone(), actions);
            }
            return;
        }
        for name in members {
            if let Some((entry, want)) = self.waiting(&name)
                && verdict.reason != condition::GROUP_INCOMPLETE
            {
                let wake = self.reason_wake(entry, want, now);
                self.set_timer(&name, wake);
            }
            let Some(entry) = self.leases.get_mut(&name) else { continue };
            if entry.want.is_some() && entry.pending.as_deref() != Some(verdict.reason) {
                entry.pending = Some(verdict.reason.to_owned());
                let (reason, message) = (verdict.reason.to_owned(), verdict.message.clone());
                actions.push(Action::Wait { lease: name.to_string(), reason, message });
            }
        }
    }

    /// Reason and message of this moment for a member that waits.
    pub(in super::super) fn group_reason(&self, entry: &Entry, now: Timestamp) -> Option<(&'static str, String)> {
        let member = entry.group.as_ref()?;
        let verdict = self.verdict_on_group(&member.group, now)?;
        Some((verdict.reason, verdict.message))
    }

    /// `None` while nobody needs to be told anything: devices are being given to the group.
    fn verdict_on_group(&self, group: &Name, now: Timestamp) -> Option<Verdict> {
        let Some(line) = self.groups.line(group) else { return self.verdict_on_incomplete(group) };
        for (name, _) in &line.seekers {
            let (entry, want) = self.waiting(name)?;
            if let Some((reason, message, fatal)) = self.nothing_to_wait_for(entry, want, now) {
                let message = condition::group_member(name, &message);
                return Some(Verdict { reason, message, fatal });
            }
        }
        let worst = self.ranks_in_line(line, now).last().copied();
        Some(match worst.and_then(|worst| self.last_outlook(line, worst, now)) {
            Some((values, outlook)) => self
                .verdict_on_quotas(line, &outlook, now)
                .unwrap_or_else(|| self.verdict_on_outlook(line, &values, &outlook)),
            None => self.verdict_on_shortage(line, now),
        })
    }

    fn verdict_on_incomplete(&self, group: &Name) -> Option<Verdict> {
        let members = self.members(group);
        let first = members.first().and_then(|name| self.leases.get(name))?;
        let size = first.group.as_ref()?.says.as_ref().ok()?.size;
        (members.len() < size && !self.any_member(group, |entry| entry.exporter.is_some())).then(|| Verdict {
            reason: condition::GROUP_INCOMPLETE,
            message: condition::group_incomplete(group, members.len(), size),
            fatal: false,
        })
    }

    /// Devices are one thing, what the accounts of the client may have at once is another.
    fn verdict_on_quotas(&self, line: &Line, outlook: &Outlook, now: Timestamp) -> Option<Verdict> {
        let pairs = || line.seekers.iter().zip(&outlook.picks).map(|((lease, _), (_, exporter))| (lease, exporter));
        if self.quotas_allow(pairs(), now) {
            return None;
        }
        let entries = pairs().filter_map(|(lease, exporter)| self.leases.get(lease).zip(self.exporters.get(exporter)));
        let wanted = entries.map(|(entry, bench)| (bench.scope, &*entry.client));
        let never = self.book.too_many(wanted);
        let message = match &never {
            Some((quota, who, most)) => condition::group_over_quota(line.seekers.len(), quota, who, *most),
            None => condition::group_at_quota(line.seekers.len()),
        };
        Some(Verdict { reason: condition::QUOTA_EXCEEDED, message, fatal: never.is_some() })
    }

    fn verdict_on_outlook(&self, line: &Line, values: &Values, outlook: &Outlook) -> Verdict {
        let awaited = line.seekers.iter().zip(&outlook.picks).filter(|(_, (turn, _))| turn.class != Class::Free);
        let awaited = awaited.filter_map(|((name, _), _)| self.request_of(name)).map(shown).collect::<BTreeSet<_>>();
        let free = outlook.picks.iter().filter(|(turn, _)| turn.class == Class::Free).count();
        let awaited = awaited.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        let place = line.same.iter().zip(values).map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        Verdict {
            reason: condition::GROUP_NOT_AVAILABLE,
            message: condition::group_not_available(free, line.seekers.len(), &awaited, &place.join(", ")),
            fatal: false,
        }
    }

    /// There are not enough devices, whoever holds them.
    fn verdict_on_shortage(&self, line: &Line, now: Timestamp) -> Verdict {
        // Of all places that where most members have one.
        let looks = self.values_in_line(line).into_iter().map(|values| {
            let offers = self.offers(line, values, None, now);
            let (matching, devices) = offers.matching(line.seekers.len());
            (matching.served(), matching.short(&devices))
        });
        let best = looks.max_by_key(|(served, _)| *served).and_then(|(_, short)| short);
        let (short, devices) = best.unwrap_or((u16::MAX, 0));
        let members = (0..line.seekers.len()).filter(|member| short & (1 << member) != 0).collect::<Vec<_>>();
        let requests = members.iter().filter_map(|member| self.request_of(&line.seekers[*member].0)).map(shown);
        let requests = requests.collect::<BTreeSet<_>>().into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        Verdict {
            reason: condition::GROUP_TOO_LARGE,
            message: condition::group_too_large(members.len(), &requests, devices, &line.same.join(", ")),
            fatal: true,
        }
    }

    fn request_of(&self, lease: &str) -> Option<&Request> {
        self.leases.get(lease)?.request.as_ref().ok()
    }
}

fn shown(request: &Request) -> String {
    match &request.pinned {
        Some(pinned) => format!("the exporter {pinned}"),
        None => request.selector.to_string(),
    }
}
