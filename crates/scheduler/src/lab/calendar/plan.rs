//! Which exporter a scheduled lease reserves: chosen once, then kept for as long as it will do.
//!
//! Everybody who has to be planned is planned in one order, whatever the order of the news: first those whose object
//! names an exporter for the very time that they ask for, then those whose object names one, then all others; in each
//! class by age. So a new core, and another one that has seen all changes one after the other, come to the same plan.

use jumpstarter_model::{Timestamp, condition::lease as condition};

use super::{Lab, Name, Plan, Stay};
use crate::{
    Action, Clash, RefusedAs,
    lab::{access::Rank, exporter::Usable, lease::Entry, names::Age},
};

/// How well an exporter would do; the least is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merit {
    rank: Rank,
    /// Held for longer than until the begin, as far as is known now.
    held: bool,
    offline: bool,
    load: usize,
    last_use: Timestamp,
}

/// What came of planning one lease.
enum Outcome {
    Reserved(Name),
    /// Exporters that it could have are all spoken for.
    Clash,
    /// There is no exporter that it could have.
    Nothing,
}

impl Lab {
    /// Marks a lease that may have a reservation, or want one, after something about it changed. What is booked for
    /// another time than it asks for now is given up.
    pub(in crate::lab) fn note_plan(&mut self, name: &Name) {
        let Some(entry) = self.leases.get(name) else { return self.forget_plan(name) };
        let wants = entry.exporter.is_none() && (entry.plan.is_some() || entry.times.begin().is_some());
        // Groups are served all or not at all, when their time has come.
        let wants = wants && entry.group.is_none();
        if !wants || entry.release {
            return self.forget_plan(name);
        }
        let client = entry.client.clone();
        let stays = self
            .calendar
            .booking(name)
            .is_none_or(|booked| entry.plan.as_ref() == Some(booked) && Stay::of(entry) == Some(booked.stay));
        if !stays {
            self.unbook(name);
        }
        self.calendar.clients.entry(client).or_default().insert(name.clone());
        self.marked.plans.insert(name.clone());
    }

    /// After a lease got an exporter, ended or is gone.
    pub(in crate::lab) fn forget_plan(&mut self, name: &Name) {
        self.unbook(name);
        self.calendar.seekers.remove(name);
        self.marked.plans.remove(name);
    }

    /// Takes a lease out of the index of clients.
    pub(in crate::lab) fn forget_plans_client(&mut self, name: &Name, client: &Name) {
        if let Some(leases) = self.calendar.clients.get_mut(client) {
            leases.remove(name);
            if leases.is_empty() {
                self.calendar.clients.remove(client);
            }
        }
    }

    /// Books what objects say, before anything else is decided.
    pub(in crate::lab) fn book_plans(&mut self, now: Timestamp) {
        if self.marked.plans.is_empty() {
            return;
        }
        let mut accepted = self.to_plan().into_iter().filter(|(class, ..)| *class == 0).collect::<Vec<_>>();
        accepted.sort();
        for (_, age, name) in accepted {
            let Some(plan) = self.leases.get(&name).and_then(|entry| entry.plan.clone()) else { continue };
            if self.calendar.booking(&name).is_some() || !self.will_do(&name, &plan) || plan.stay.end <= now {
                continue;
            }
            // Only a foreign hand can have written two that overlap.
            while let Some((_, other)) = self.calendar.reservation_in(&plan.exporter, plan.stay, &name).cloned() {
                if self.leases.get(&other).is_some_and(|entry| entry.age < age) {
                    break;
                }
                self.unbook(&other);
                self.marked.plans.insert(other);
            }
            if self.calendar.reservation_in(&plan.exporter, plan.stay, &name).is_none() {
                self.book(&name, plan);
            }
        }
    }

    /// Plans everybody who has to be planned.
    pub(in crate::lab) fn make_plans(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while !self.marked.plans.is_empty() {
            let mut order = self.to_plan();
            order.sort();
            self.marked.plans.clear();
            // What has become impossible is in nobody's way.
            for (.., name) in &order {
                if self.calendar.booking(name).is_some_and(|plan| !self.will_do(name, plan)) {
                    self.unbook(name);
                }
            }
            for (.., name) in order {
                self.plan_one(&name, now, actions);
            }
        }
    }

    fn to_plan(&self) -> Vec<(u8, Age, Name)> {
        let plans = self.marked.plans.iter().filter_map(|name| {
            let entry = self.leases.get(name)?;
            let class = match &entry.plan {
                Some(plan) if Stay::of(entry) == Some(plan.stay) => 0,
                Some(_) => 1,
                None => 2,
            };
            Some((class, entry.age.clone(), name.clone()))
        });
        plans.collect()
    }

    fn plan_one(&mut self, name: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(entry) = self.leases.get(name) else { return };
        if entry.exporter.is_some() || entry.release {
            return self.forget_plan(name);
        }
        let Some(begin) = entry.times.begin().filter(|begin| *begin > now) else {
            return self.keep_or_drop(name, actions);
        };
        let fresh = entry.pending.is_none();
        let outcome = self.choose_reservation(name);
        let plan = match &outcome {
            Outcome::Reserved(exporter) => {
                let stay = Stay::of(entry);
                stay.map(|stay| Plan { exporter: exporter.clone(), stay })
            }
            Outcome::Clash if fresh => {
                if let Some(clash) = self.clash(name) {
                    let text = clash.to_string();
                    return self.refuse(name, RefusedAs::Unsatisfiable, Clash::REASON, text, actions);
                }
                None
            }
            Outcome::Clash | Outcome::Nothing => None,
        };
        let message = self.message_of(name, begin, plan.as_ref(), now);
        let alone = self.leases.get(name).filter(|entry| entry.group.is_none());
        match (&plan, alone.and_then(|entry| entry.request.as_ref().ok())) {
            (None, Some(request)) => {
                let request = request.clone();
                self.unbook(name);
                self.calendar.seekers.insert(name, &request);
            }
            (None, None) => self.forget_plan(name),
            (Some(plan), _) => {
                self.calendar.seekers.remove(name);
                if self.calendar.booking(name) != Some(plan) {
                    self.book(name, plan.clone());
                }
            }
        }
        self.tell_plan(name, plan, message, actions);
    }

    /// What a scheduled lease is told at this moment.
    pub(in crate::lab) fn scheduled_message(&self, name: &Name, now: Timestamp) -> String {
        let begin = self.leases.get(name).and_then(|entry| entry.times.begin()).unwrap_or(now);
        self.message_of(name, begin, self.calendar.booking(name), now)
    }

    fn message_of(&self, name: &Name, begin: Timestamp, plan: Option<&Plan>, now: Timestamp) -> String {
        if let Some(plan) = plan {
            let bench = self.exporters.get(&plan.exporter);
            let held = bench.filter(|bench| matches!(bench.usable, Usable::Leased | Usable::Spot));
            let until = held.map(|bench| bench.at).filter(|until| *until > begin.max(now));
            return condition::scheduled_on(begin, &plan.exporter, until);
        }
        let sensible = self
            .leases
            .get(name)
            .is_some_and(|entry| entry.request.is_ok() && entry.group.is_none() && Stay::of(entry).is_some());
        match self.clash(name) {
            _ if !sensible => condition::scheduled(begin),
            Some(clash) => condition::scheduled_in_vain(begin, &clash.to_string()),
            None => condition::scheduled_in_vain(begin, "no exporter that it could have is there at present"),
        }
    }

    fn tell_plan(&mut self, name: &Name, plan: Option<Plan>, message: String, actions: &mut Vec<Action>) {
        let Some(entry) = self.leases.get_mut(name) else { return };
        let told = entry.pending.as_deref() == Some(condition::SCHEDULED);
        if entry.plan == plan && told {
            return;
        }
        let changed = entry.plan != plan;
        entry.pending = Some(condition::SCHEDULED.to_owned());
        entry.plan.clone_from(&plan);
        let lease = name.to_string();
        actions.push(if changed {
            let reserved = plan.map(|plan| (plan.exporter.to_string(), plan.stay.begin, plan.stay.end));
            Action::Reserve { lease, reserved, message: Some(message) }
        } else {
            Action::Wait { lease, reason: condition::SCHEDULED.to_owned(), message }
        });
    }

    /// A lease whose begin has come keeps what it has reserved for as long as that will do.
    fn keep_or_drop(&mut self, name: &Name, actions: &mut Vec<Action>) {
        self.calendar.seekers.remove(name);
        let Some(entry) = self.leases.get(name) else { return };
        let Some(plan) = entry.plan.clone() else { return self.unbook(name) };
        // It may have been asked to end at another time meanwhile.
        let new = Stay::of(entry).map(|stay| Plan { stay, ..plan.clone() });
        let new = new.filter(|new| {
            self.will_do(name, new) && self.calendar.reservation_in(&new.exporter, new.stay, name).is_none()
        });
        match &new {
            Some(new) if self.calendar.booking(name) == Some(new) => {}
            Some(new) => self.book(name, new.clone()),
            None => self.unbook(name),
        }
        if new.as_ref() == Some(&plan) {
            return;
        }
        if let Some(entry) = self.leases.get_mut(name) {
            entry.plan.clone_from(&new);
        }
        let reserved = new.map(|plan| (plan.exporter.to_string(), plan.stay.begin, plan.stay.end));
        actions.push(Action::Reserve { lease: name.to_string(), reserved, message: None });
    }

    /// Whether the exporter of a plan is one that the lease can have, and no maintenance is in the way.
    fn will_do(&self, name: &Name, plan: &Plan) -> bool {
        let Some(entry) = self.leases.get(name) else { return false };
        let Ok(request) = &entry.request else { return false };
        self.is_reservable(request, &plan.exporter)
            && self.rank_of(entry, &plan.exporter).is_some()
            && self.is_maintained(&plan.exporter, plan.stay, &entry.client).is_none()
    }

    fn is_maintained(&self, exporter: &str, stay: Stay, client: &str) -> Option<Stay> {
        let windows = &self.calendar.agendas.get(exporter)?.windows;
        windows.iter().find_map(|window| self.opening_in(window, stay, client))
    }

    /// What policies let a scheduled lease have an exporter with. Quotas are for the moment that it begins.
    pub(super) fn rank_of(&self, entry: &Entry, exporter: &str) -> Option<Rank> {
        let bench = self.exporters.get(exporter)?;
        let begin = entry.times.begin().unwrap_or(Timestamp::MIN);
        self.book.access(bench.scope, &entry.client, entry.times.requested(begin)).rank_by_policy()
    }

    fn choose_reservation(&self, name: &Name) -> Outcome {
        let Some(entry) = self.leases.get(name) else { return Outcome::Nothing };
        let (Ok(request), Some(stay)) = (&entry.request, Stay::of(entry)) else { return Outcome::Nothing };
        if entry.group.is_some() {
            return Outcome::Nothing;
        }
        let open = |exporter: &str| self.is_open(exporter, stay, name, &entry.client);
        if let Some(plan) = &entry.plan
            && self.is_reservable(request, &plan.exporter)
            && self.rank_of(entry, &plan.exporter).is_some()
            && open(&plan.exporter)
        {
            return Outcome::Reserved(plan.exporter.clone());
        }
        let mut best: Option<(Merit, Name)> = None;
        let mut clash = false;
        for exporter in self.matching(request) {
            let Some(merit) = self.merit(entry, request, &exporter, stay) else { continue };
            if !open(&exporter) {
                clash = true;
            } else if best.as_ref().is_none_or(|(least, _)| merit < *least) {
                best = Some((merit, exporter));
            }
        }
        match best {
            Some((_, exporter)) => Outcome::Reserved(exporter),
            None if clash => Outcome::Clash,
            None => Outcome::Nothing,
        }
    }

    fn merit(&self, entry: &Entry, request: &crate::lab::want::Request, exporter: &Name, stay: Stay) -> Option<Merit> {
        if !self.is_reservable(request, exporter) {
            return None;
        }
        let rank = self.rank_of(entry, exporter)?;
        let bench = self.exporters.get(exporter)?;
        let held = matches!(bench.usable, Usable::Leased | Usable::Spot) && bench.at > stay.begin;
        Some(Merit {
            rank,
            held,
            offline: bench.usable == Usable::Offline,
            load: self.calendar.load(exporter),
            last_use: self.last_use.get(exporter).copied().unwrap_or(Timestamp::MIN),
        })
    }
}
