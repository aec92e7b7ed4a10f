//! Devices that fail: what counts, who is quarantined, and how that ends. The names are sentences of
//! `docs/scheduling.md`.

mod checks;
mod outcomes;
mod quarantines;
mod shares;
mod stories;

use jumpstarter_model::{ExporterPhase, LeaseFailure, condition};
use jumpstarter_scheduler::{Action, CandidateReason, LiftCause, QuarantineCause, health, transition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::kit::{ExporterExt as _, LeaseExt as _, RuleExt as _, World, at, exporter, lease, policy, rule};

const HOUR: i64 = 3600;

impl World {
    /// A report of the exporter, stored as the service does.
    pub(crate) fn report(&mut self, name: &str, phase: ExporterPhase) {
        let now = self.now;
        self.edit_exporter(name, |mut exporter| {
            let status = exporter.status.get_or_insert_default();
            let was = status.exporter_status.replace(phase);
            status.status_message = Some("said so".to_owned());
            health::reported(status, was, now);
            exporter
        });
    }

    /// The connection to the exporter is lost, stored as the service does.
    pub(crate) fn lose(&mut self, name: &str) {
        let now = self.now;
        self.edit_exporter(name, |exporter| {
            let mut exporter = exporter.online(false);
            let status = exporter.status.get_or_insert_default();
            status.exporter_status = Some(ExporterPhase::Offline);
            health::connection_lost(status, now);
            exporter
        });
    }

    pub(crate) fn release(&mut self, lease: &str) {
        self.edit_lease(lease, |lease| lease.spec.release = Some(true));
        self.settle();
    }

    pub(crate) fn annotate(&mut self, name: &str, key: &str, value: Option<&str>) {
        self.edit_exporter(name, |mut exporter| {
            let annotations = exporter.metadata.annotations.get_or_insert_default();
            match value {
                Some(value) => _ = annotations.insert(key.to_owned(), value.to_owned()),
                None => _ = annotations.remove(key),
            }
            exporter
        });
        self.settle();
    }

    pub(crate) fn score(&self, name: &str) -> i32 {
        self.exporters[name].status.as_ref().and_then(|status| status.health.as_ref()).map_or(0, |health| health.score)
    }

    fn failures(&self, name: &str) -> Vec<String> {
        let health = self.exporters[name].status.as_ref().and_then(|status| status.health.clone()).unwrap_or_default();
        health.failures.into_iter().map(|failure| format!("{} {}", failure.reason, failure.lease)).collect()
    }

    /// What the exporter's condition says, `-` when there is none.
    pub(crate) fn quarantine(&self, name: &str) -> String {
        let conditions = &self.exporters[name].status.as_ref().unwrap().conditions;
        condition::find(conditions, "Quarantined")
            .map_or("-".to_owned(), |found| format!("{} {}", found.status, found.reason))
    }

    /// One lease pinned to the exporter from begin to end; its hook fails or it does not.
    pub(crate) fn turn(&mut self, name: &str, lease_name: &str, fails: bool) {
        let created = self.secs();
        self.put(lease(lease_name).pinned(name).allow_disabled().created(created).lasting(HOUR));
        self.settle();
        assert_eq!(self.leases[lease_name].assigned_exporter(), Some(name), "{}", self.state(lease_name));
        self.play(name, lease_name, fails);
    }

    /// Goes through with a lease that has the exporter.
    pub(crate) fn play(&mut self, name: &str, lease: &str, fails: bool) {
        self.report(name, ExporterPhase::BeforeLeaseHook);
        self.settle();
        self.report(name, if fails { ExporterPhase::BeforeLeaseHookFailed } else { ExporterPhase::LeaseReady });
        self.settle();
        if self.leases.get(lease).is_some_and(|lease| !lease.is_ended()) {
            self.release(lease);
        }
        self.report(name, ExporterPhase::Available);
        self.settle();
    }

    fn fail(&mut self, name: &str, times: usize) {
        for time in 0..times {
            let lease = format!("bad-{name}-{}-{time}", self.leases.len());
            self.turn(name, &lease, true);
        }
    }
}

/// Exporters `a`, `b` …, idle and reporting.
fn idle(count: usize) -> World {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let exporters = names[..count].iter().map(|name| exporter(name).phase(ExporterPhase::Available));
    World::with(&exporters.collect::<Vec<_>>(), &[])
}

fn unchecked(count: usize) -> World {
    let mut world = idle(count);
    world.config.quarantine.checks = false;
    world.restart();
    world
}
