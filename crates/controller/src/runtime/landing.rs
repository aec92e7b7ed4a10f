//! What becomes of calls to the store.

use std::{sync::Arc, time::Duration};

use jumpstarter_model::{LeaseGroup, condition::lease as condition};
use jumpstarter_scheduler::Action;
use jumpstarter_store::{EventKind, Key, Kind, Object, ResourceVersion, StoreError};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    FAILURES, ONE_RETRY, Runtime, STORE_RETRY,
    actions::is_doubtful,
    inbox::{Answer, Refusal},
    jobs::{self, Job, Landing, Outcome, Work},
};
use crate::metrics::Acquisition;

/// Longest wait between two attempts to read objects again.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Wait before a write that the store called invalid is tried again.
const INVALID_RETRY: Duration = Duration::from_secs(5);

impl Runtime {
    /// Takes over the outcome of a call. Whatever it is, the core learns what is true now.
    pub(super) fn land(&mut self, Landing { job, outcome }: Landing) {
        match outcome {
            Outcome::Written(objects) => self.land_written(job, &objects),
            Outcome::Failed(error) => self.land_failed(job, &error),
            Outcome::Read(found) => {
                for ((key, object), known) in found.iter().zip(&job.known) {
                    match object {
                        Some(object) => self.absorb(object),
                        None => self.is_absent(key, *known),
                    }
                }
                if let Work::Action(action) = &job.work
                    && let Some(lease) = action.lease()
                    && is_doubtful(action, self.world.lease(lease).as_deref())
                {
                    self.note_looked_up(lease);
                }
                self.finish_failed(job);
            }
            Outcome::Unread(error) => self.land_unread(job, error),
            Outcome::Abandoned => {
                let job = self.settle(job);
                if let Work::Command(envelope) = job.work {
                    self.refuse(envelope, Refusal::Stopping);
                }
            }
        }
    }

    fn land_written(&mut self, job: Job, objects: &[Object]) {
        self.failures = 0;
        if let Work::Remove { lease, .. } = &job.work {
            let version = objects.first().map(Object::resource_version);
            self.bury(&Key::new(Kind::Lease, &self.config.namespace, lease), version);
            debug!(%lease, "ended lease removed after its retention");
        } else {
            for object in objects {
                self.absorb(object);
            }
        }
        let Job { work, follow, before, .. } = self.settle(job);
        self.tell_exporters(&before, objects);
        match work {
            Work::Command(mut envelope) => {
                let key = envelope.key(&self.config.namespace);
                let written = objects.iter().find(|object| Some(object.key()) == key.as_ref());
                if envelope.is_create()
                    && let Some(lease) = written
                {
                    info!(lease = lease.name(), "lease created");
                }
                if let Some(action) = &follow {
                    self.note(action, objects);
                }
                envelope.answer(Ok(written.map_or(Answer::Nothing, |object| Answer::Object(object.clone()))));
            }
            Work::Action(action) => self.note(&action, objects),
            Work::Remove { .. } | Work::Judge { .. } => {}
        }
    }

    fn land_failed(&mut self, mut job: Job, error: &StoreError) {
        let changed =
            matches!(error, StoreError::Conflict { .. } | StoreError::NotFound(_) | StoreError::AlreadyExists(_));
        if changed {
            self.metrics.conflicts.inc();
        }
        let joined = job.follow.is_some();
        match &mut job.work {
            Work::Command(envelope) => {
                if changed && envelope.may_retry() || joined && !matches!(error, StoreError::Unavailable(_)) {
                    // Next time by itself: what followed may be what failed, and is not the caller's concern.
                    if joined {
                        envelope.write_alone();
                    }
                } else {
                    envelope.answer(Err(Refusal::Store(error.clone())));
                }
                self.read_again(job, Duration::ZERO);
            }
            Work::Action(_) if changed => self.read_again(job, Duration::ZERO),
            Work::Action(action) => {
                if matches!(error, StoreError::Invalid(_)) {
                    warn!(?action, %error, "the store does not take a decision");
                    let lease = action.lease().map(str::to_owned);
                    let aside = lease.is_some_and(|lease| self.put_aside(&lease, error));
                    self.read_again(job, if aside { Duration::ZERO } else { INVALID_RETRY });
                } else {
                    warn!(?action, %error, "a decision could not be stored, it will be taken again");
                    self.failures += 1;
                    if self.failures >= FAILURES {
                        self.rest_until = Some(Instant::now() + STORE_RETRY);
                    }
                    self.read_again(job, ONE_RETRY);
                }
            }
            Work::Remove { lease, .. } => {
                if !changed {
                    warn!(%lease, %error, "remove an ended lease");
                }
                self.read_again(job, Duration::ZERO);
            }
            // If it changed, it is judged as it is now; if it cannot be written, when it changes.
            Work::Judge { window } => {
                if !changed {
                    warn!(%window, %error, "say in the status of a maintenance window what is wrong with it");
                }
                self.read_again(job, Duration::ZERO);
            }
        }
    }

    /// An object was not there when it was read. If it was heard of since, it was made after that, and news of its end
    /// will come as all other news does.
    fn is_absent(&mut self, key: &Key, known: Option<ResourceVersion>) {
        if self.known_version(key) == known {
            self.forget(key);
        }
    }

    pub(super) fn read_again(&mut self, mut job: Job, after: Duration) {
        if self.stop.is_cancelled() {
            return self.land(Landing { job, outcome: Outcome::Abandoned });
        }
        job.known = job.keys.iter().map(|key| self.known_version(key)).collect();
        self.jobs.push(jobs::read_again(Arc::clone(&self.store), job, after, self.stop.clone()));
    }

    /// The truth is out of reach: the objects stay closed until it is known, and nobody is kept waiting for them.
    fn land_unread(&mut self, mut job: Job, error: StoreError) {
        if job.misses == 0 {
            warn!(objects = ?job.keys.iter().map(Key::to_string).collect::<Vec<_>>(), %error, "read objects again");
        }
        self.unread.extend(job.keys.iter().cloned());
        for work in self.flights.withdraw(&job.keys, |work| matches!(work, Work::Command(_))) {
            if let Work::Command(envelope) = work {
                self.refuse(envelope, Refusal::Store(error.clone()));
            }
        }
        if let Work::Command(envelope) = &mut job.work {
            envelope.answer(Err(Refusal::Store(error)));
        }
        let wait = (STORE_RETRY * 2_u32.saturating_pow(job.misses.min(8))).min(LONGEST_WAIT);
        job.misses += 1;
        self.read_again(job, wait);
    }

    /// After the objects of a failed write were read.
    fn finish_failed(&mut self, job: Job) {
        for key in &job.keys {
            self.unread.remove(key);
        }
        let Job { work, .. } = self.settle(job);
        if let Work::Command(envelope) = work {
            if envelope.is_answered() {
                self.refuse(envelope, Refusal::Stopping);
            } else {
                self.take_command(envelope);
            }
        }
    }

    /// The outcome is known: gives the objects free, and tells the core what is true of them.
    fn settle(&mut self, job: Job) -> Job {
        self.flights.end(&job.keys);
        if let Some(draft) = &job.assumed {
            draft.settle(&mut self.lab);
        }
        if let Some(action) = &job.follow {
            self.lab.settle(action);
        }
        if let Work::Action(action) = &job.work {
            self.lab.settle(action);
        }
        self.observe_again(&job.keys);
        job
    }

    fn is_in_group(&self, lease: &str) -> bool {
        self.world.lease(lease).is_some_and(|lease| LeaseGroup::name_of(&lease.metadata).is_some())
    }

    /// Logs, counts and tells what has become durable.
    fn note(&self, action: &Action, objects: &[Object]) {
        let lease = objects.iter().find(|object| object.kind() == Kind::Lease && Some(object.name()) == action.lease());
        let tell = |kind, reason, message: &str| self.tell_lease(lease, kind, reason, message);
        match action {
            Action::Assign { lease, exporter, .. } => {
                self.metrics.acquisition(Acquisition::success);
                info!(%lease, %exporter, "lease assigned");
                tell(EventKind::Normal, "Assigned", &format!("assigned exporter {exporter}"));
            }
            Action::Claim { lease, exporter } => {
                debug!(%lease, %exporter, "an exporter is claimed for a lease of a group");
            }
            Action::CompleteClaim { lease, exporter, .. } if self.is_in_group(lease) => {
                self.metrics.acquisition(Acquisition::success);
                info!(%lease, %exporter, "lease of a group assigned");
                tell(EventKind::Normal, "Assigned", &format!("assigned exporter {exporter}"));
            }
            Action::Refuse { lease, condition, reason, message } => {
                self.metrics.acquisition(Acquisition::failure);
                info!(%lease, %reason, %message, "lease refused");
                tell(EventKind::Warning, condition.condition(), message);
            }
            Action::End { lease, cause, message, .. } => {
                info!(%lease, ?cause, "lease ended");
                tell(EventKind::Normal, cause.reason(), message);
            }
            Action::GiveNotice { lease, exporter, ends } => {
                info!(%lease, %exporter, %ends, "a spot lease is told to make way");
                tell(EventKind::Warning, condition::PREEMPTION_NOTICE, &condition::preemption_notice(exporter, *ends));
            }
            Action::WithdrawNotice { lease, exporter } => {
                info!(%lease, %exporter, "a spot lease may stay");
                let text = condition::preemption_withdrawn(exporter);
                tell(EventKind::Normal, "PreemptionWithdrawn", &text);
            }
            Action::Preempt { lease, exporter, successor } => {
                info!(%lease, %exporter, ?successor, "a spot lease was preempted");
                self.metrics.preemptions.inc();
                let text = condition::preempted(exporter, successor.as_deref());
                tell(EventKind::Warning, condition::PREEMPTED, &text);
            }
            Action::Reserve { lease, reserved: Some((exporter, begin, end)), .. } => {
                info!(%lease, %exporter, %begin, %end, "an exporter is reserved");
                tell(EventKind::Normal, "Reserved", &format!("exporter {exporter} is reserved from {begin} to {end}"));
            }
            Action::Reserve { lease, reserved: None, message } => {
                info!(%lease, "nothing is reserved any more");
                let text = message.as_deref().unwrap_or("the exporter that was reserved will not do any more");
                tell(EventKind::Warning, "NotReserved", text);
            }
            Action::MakeReady { lease } => info!(%lease, "lease ready"),
            Action::Wait { lease, reason, .. } => debug!(%lease, %reason, "lease waits"),
            // What becomes of the exporter is told with its condition.
            Action::Quarantine { exporter, cause, until, .. } => {
                warn!(%exporter, ?cause, ?until, "an exporter is quarantined");
            }
            Action::LiftQuarantine { exporter, cause, .. } => {
                info!(%exporter, ?cause, "an exporter is given out again");
            }
            Action::HoldInService { exporter } => {
                warn!(%exporter, "leases fail on an exporter, which stays in service since enough others are quarantined");
            }
            Action::Check { exporter, lease, .. } => info!(%exporter, %lease, "an exporter is checked"),
            other => warn!(action = ?other, "a half-done change was completed"),
        }
    }
}
