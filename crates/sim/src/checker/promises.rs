//! What was acknowledged is so, and what was told was true.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jumpstarter_model::{ExporterPhase, Lease, LeaseSpec, LocalObjectReference, Selector, lease_time};
use jumpstarter_protocol::v1::ExporterStatus;
use jumpstarter_store::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{Checker, LeaseFacts};
use crate::peers::{
    client::Seen,
    link::{Wish, go_duration},
};

/// What peers have asked for, and what was taken away on purpose.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Who asked for the end of a lease.
    pub(super) releases: BTreeMap<String, BTreeSet<String>>,
    /// Leases that somebody deleted by hand.
    pub(super) deleted: BTreeSet<String>,
    /// Leases that are gone after they had ended.
    pub(super) past: BTreeSet<String>,
}

impl Checker {
    pub(crate) fn create_sent(&mut self, client: &str, wish: &Wish) {
        let at = self.at();
        self.log.note(at, format_args!("client {client}: asks for {wish:?}"));
    }

    pub(crate) fn create_acknowledged(&mut self, wish: &Wish) {
        let id = &wish.id;
        self.is_acknowledged(id);
        match self.leases.get(id) {
            Some(facts) if facts.lengths.contains(&go_duration(wish.duration).to_string()) => {}
            Some(facts) => {
                let text = format!("{id} was created for {:?} and has lengths {:?}", wish.duration, facts.lengths);
                self.violation("acknowledged", text, &[id]);
            }
            None if self.is_past(id) => {}
            None => self.violation("acknowledged", format!("{id} was created and is not there"), &[id]),
        }
    }

    /// A client was told that it cannot have what it has asked for.
    pub(crate) fn create_refused(&mut self, client: &str, wish: &Wish, status: &tonic::Status) {
        let taken = status.code() == tonic::Code::FailedPrecondition && wish.begin.is_some();
        if !taken || !status.message().contains("can be reserved") {
            return;
        }
        let Ok(selector) = Selector::parse(&wish.selector) else { return };
        let spec = LeaseSpec {
            client_ref: LocalObjectReference::new(client),
            selector: selector.to_label_selector(),
            exporter_ref: wish.pinned.clone().map(LocalObjectReference::new),
            duration: Some(go_duration(wish.duration)),
            begin_time: wish.begin.map(|begin| Time(lease_time::whole_second(begin))),
            ..LeaseSpec::default()
        };
        let lease = Lease { metadata: ObjectMeta::default(), spec, status: None };
        let wished = LeaseFacts::of(&Object::from_resource(&lease), &lease, self.at());
        self.its_time_is_taken(&wish.id, &wished);
    }

    pub(crate) fn release_asked(&mut self, lease: &str, by: &str) {
        let at = self.at();
        self.log.note(at, format_args!("{by} gives {lease} back"));
        self.asked.releases.entry(lease.to_owned()).or_default().insert(by.to_owned());
    }

    pub(crate) fn release_acknowledged(&mut self, lease: &str, by: &str) {
        let kept = self.leases.get(lease).is_some_and(|facts| !facts.release && !facts.ended);
        if kept {
            self.violation("acknowledged", format!("{by} gave {lease} back, and it goes on"), &[lease]);
        }
    }

    pub(crate) fn lengthen_sent(&mut self, lease: &str, to: Duration) {
        let at = self.at();
        self.log.note(at, format_args!("{lease} is to last {to:?}"));
    }

    pub(crate) fn lengthen_acknowledged(&mut self, lease: &str, to: Duration) {
        let length = go_duration(to).to_string();
        if self.leases.get(lease).is_some_and(|facts| !facts.lengths.contains(&length)) {
            self.violation("acknowledged", format!("{lease} was to last {to:?}, and never does"), &[lease]);
        }
    }

    /// Marks the begin of a report.
    pub(crate) fn report_sent(&self, _exporter: &str) -> u64 {
        self.counts.commits
    }

    /// A report that began after `mark` was taken in: the object said so at some time since.
    pub(crate) fn report_acknowledged(&mut self, exporter: &str, status: ExporterStatus, mark: u64) {
        let phase = ExporterPhase::from_wire(status.into());
        let at = self.at();
        self.log.note(at, format_args!("exporter {exporter}: reported {phase:?}"));
        let Some(facts) = self.exporters.get(exporter) else { return };
        let mut so = false;
        let mut last_before = None;
        for (commit, found) in &facts.phases {
            if *commit <= mark {
                last_before = Some(*found);
            } else {
                so |= *found == phase;
            }
        }
        // A leader that was replaced and does not know it yet finds nothing to write, since it knows no better.
        let alone = self.services <= 1 && self.at() > self.service_since + Duration::from_mins(1);
        if alone && !so && last_before != Some(phase) && facts.phases.len() < 64 {
            let text = format!("{exporter} reported {phase:?}, and it never said so: {:?}", facts.phases);
            self.violation("acknowledged", text, &[exporter]);
        }
    }

    /// An exporter hears who holds it.
    pub(crate) fn told(&mut self, exporter: &str, lease: Option<&str>) {
        let at = self.at();
        self.log.note(at, format_args!("exporter {exporter}: told of {lease:?}"));
        if let Some(lease) = lease {
            self.was_told(exporter, lease);
        }
    }

    /// Nobody is told of a lease before it and the claim are stored.
    pub(super) fn was_told(&mut self, exporter: &str, lease: &str) {
        let so = match self.leases.get(lease) {
            Some(facts) => facts.exporter.as_deref() == Some(exporter),
            None => self.is_past(lease),
        };
        if !so {
            let text = format!("{exporter} was told of {lease}, which does not hold it");
            self.violation("told-the-truth", text, &[exporter, lease]);
        }
    }

    /// A client was told the truth, as it was at some time.
    pub(super) fn is_true(&mut self, lease: &str, seen: &Seen) {
        let Some(facts) = self.leases.get(lease) else {
            if !self.is_past(lease) {
                self.violation("told-the-truth", format!("{lease} was seen and is not there"), &[lease]);
            }
            return;
        };
        let so = match seen {
            Seen::Waits => true,
            Seen::Prepares(exporter) | Seen::Ready(exporter) => facts.exporter.as_deref() == Some(exporter),
            Seen::Ended => facts.ended,
        };
        if !so {
            let text = format!("{lease} was seen {seen:?} and is {}", facts.word());
            self.violation("told-the-truth", text, &[lease]);
        }
    }

    pub(crate) fn deleted_by_hand(&mut self, lease: &str) {
        self.asked.deleted.insert(lease.to_owned());
    }

    pub(super) fn is_past(&self, lease: &str) -> bool {
        self.asked.past.contains(lease) || self.asked.deleted.contains(lease)
    }

    /// A lease is gone.
    pub(super) fn removed(&mut self, name: &str, old: &LeaseFacts) {
        if old.ended {
            self.asked.past.insert(name.to_owned());
        } else if !self.asked.deleted.contains(name) {
            self.violation("acknowledged", format!("{name} was removed before it had ended"), &[name]);
        }
    }

    pub(crate) fn exporter_lied(&mut self, exporter: &str, said: ExporterStatus) {
        self.exporters.entry(exporter.to_owned()).or_default().lied = true;
        if said == ExporterStatus::Offline {
            self.exporter_leaves(exporter);
        }
    }

    /// An exporter says that it leaves, which may end its lease.
    pub(crate) fn exporter_leaves(&mut self, exporter: &str) {
        self.exporter_away(exporter, Duration::from_mins(1));
        let at = self.at();
        self.exporters.entry(exporter.to_owned()).or_default().left = Some(at);
        let held: Vec<String> =
            self.exporters.get(exporter).map(|facts| facts.holders.iter().cloned().collect()).unwrap_or_default();
        for lease in held {
            self.release_asked(&lease, exporter);
        }
    }

    /// An exporter was let listen for a lease.
    pub(crate) fn listened(&mut self, exporter: &str, lease: &str) {
        self.was_told(exporter, lease);
    }
}
