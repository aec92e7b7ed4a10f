//! Carries out what callers ask for, together with what follows from it.

use jumpstarter_model::{Lease, Timestamp};
use jumpstarter_scheduler::{
    Action,
    transition::{self, Transition},
};
use jumpstarter_store::{Key, StoreError};

use super::{
    Runtime,
    draft::{self, Draft},
    inbox::{Envelope, Plan, Refusal},
    jobs::{Job, Work},
};

impl Runtime {
    /// Answers a question, or writes as soon as the object is free.
    pub(super) fn take_command(&mut self, envelope: Envelope) {
        let Some(key) = envelope.key(&self.config.namespace) else {
            return envelope.answer_query(&self.lab, self.config.clock.now());
        };
        if self.stop.is_cancelled() {
            return self.refuse(envelope, Refusal::Stopping);
        }
        if self.unread.contains(&key) {
            let error = StoreError::Unavailable(format!("what became of an earlier change of {key} is not known yet"));
            return self.refuse(envelope, Refusal::Store(error));
        }
        self.submit(Work::Command(envelope), vec![key]);
    }

    /// Plans a command whose object is free, and sends it to the store.
    pub(super) fn launch_command(&mut self, mut envelope: Envelope, mut keys: Vec<Key>) {
        let now = self.config.clock.now();
        let draft = match envelope.plan(&self.world, &self.lab, now) {
            Plan::Done(answer) => return envelope.answer(Ok(answer)),
            Plan::Refused(refusal) => return envelope.answer(Err(refusal)),
            Plan::Write(draft) => draft,
        };
        let mut assumed = None;
        let mut follow = None;
        let mut writes = vec![draft.write()];
        let mut others = Vec::new();
        let decides = !envelope.is_alone() && self.rest_until.is_none();
        if decides && draft.assume(&mut self.lab) {
            let decisions = self.lab.decide(now);
            self.wake_at = decisions.wake_at;
            for action in decisions.actions {
                match self.joined(&action, &draft, &keys, now).filter(|_| follow.is_none()) {
                    Some((transition, more)) => {
                        writes = draft.writes_with(transition);
                        keys.extend(more);
                        follow = Some(action);
                    }
                    None => others.push(action),
                }
            }
            assumed = Some(draft);
        }
        let before = self.exporters_of(&keys);
        self.begin(Job { follow, assumed, before, ..Job::new(Work::Command(envelope), keys) }, writes);
        for action in others {
            self.submit_action(action);
        }
    }

    /// What an action makes of the draft, when it is about the draft and everything else that it names is free; and the
    /// objects that come into play with it.
    fn joined(&self, action: &Action, draft: &Draft, keys: &[Key], now: Timestamp) -> Option<(Transition, Vec<Key>)> {
        let lease = action.lease().and_then(|name| self.world.lease(name));
        let named = |draft: &&Lease| action.lease().is_some() && draft.metadata.name.as_deref() == action.lease();
        let lease = draft.lease().filter(named).or(lease.as_deref());
        let held = lease.and_then(|lease| lease.assigned_exporter());
        // One that creates a lease is more than goes along with a call.
        if !draft::concerns(action, draft, held) || action.successor().is_some() {
            return None;
        }
        let more: Vec<Key> = self.keys_of(action).into_iter().filter(|key| !keys.contains(key)).collect();
        if !self.flights.are_free(&more) {
            return None;
        }
        let name = action.exporter().or(held);
        let exporter = name.and_then(|name| self.world.exporter(name));
        let exporter = draft.exporter().filter(|draft| draft.metadata.name.as_deref() == name).or(exporter.as_deref());
        Some((transition::apply(action, lease, exporter, now)?, more))
    }

    /// Answers a command that will not be carried out.
    pub(super) fn refuse(&mut self, mut envelope: Envelope, refusal: Refusal) {
        if envelope.is_internal() {
            // Presence is compared with the conditions again in a while.
            if let Some(key) = envelope.key(&self.config.namespace) {
                self.look_again(&key.name, super::STORE_RETRY);
            }
        }
        envelope.answer(Err(refusal));
    }
}
