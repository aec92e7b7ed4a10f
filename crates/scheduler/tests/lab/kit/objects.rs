//! Objects as tests write them down.

use jumpstarter_model::{
    AccountBy, Client, ClientSpec, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterPhase,
    ExporterSpec, From, GoDuration, Lease, LeaseGroup, LeaseQuota, LeaseQuotaSpec, LeaseSpec, LocalObjectReference,
    MaintenanceWindow, MaintenanceWindowSpec, Policy, Selector, set_condition,
};
use jumpstarter_scheduler::transition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::at;

/// An exporter that is registered, online and has never reported its phase, labelled `board=x`.
pub(crate) fn exporter(name: &str) -> Exporter {
    let mut exporter = Exporter::new(name, ExporterSpec::default());
    exporter.metadata.uid = Some(format!("uid-{name}"));
    exporter.label("board", "x").condition("Registered", true).condition("Online", true)
}

pub(crate) trait ExporterExt {
    fn label(self, key: &str, value: &str) -> Self;
    fn condition(self, type_: &str, status: bool) -> Self;
    fn online(self, online: bool) -> Self;
    fn enabled(self, enabled: bool) -> Self;
    fn phase(self, phase: ExporterPhase) -> Self;
    fn claimed_for(self, lease: &str) -> Self;
    fn says(self, message: &str) -> Self;
}

impl ExporterExt for Exporter {
    fn label(mut self, key: &str, value: &str) -> Self {
        self.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    fn condition(mut self, type_: &str, status: bool) -> Self {
        let conditions = &mut self.status.get_or_insert_default().conditions;
        set_condition(conditions, type_, status, "Test", "", None, at(0));
        self
    }

    fn online(self, online: bool) -> Self {
        self.condition("Online", online)
    }

    fn enabled(mut self, enabled: bool) -> Self {
        self.spec.enabled = Some(enabled);
        self
    }

    fn phase(mut self, phase: ExporterPhase) -> Self {
        self.status.get_or_insert_default().exporter_status = Some(phase);
        self
    }

    fn claimed_for(mut self, lease: &str) -> Self {
        self.status.get_or_insert_default().lease_ref = Some(LocalObjectReference::new(lease));
        self
    }

    fn says(mut self, message: &str) -> Self {
        self.status.get_or_insert_default().status_message = Some(message.to_owned());
        self
    }
}

/// A lease of alice for `board=x` and an hour, created at the start of the test.
pub(crate) fn lease(name: &str) -> Lease {
    let mut lease = Lease::new(name, LeaseSpec::default());
    lease.metadata.uid = Some(format!("uid-{name}"));
    lease.metadata.creation_timestamp = Some(Time(at(0)));
    lease.by("alice").wants("board=x").lasting(3600)
}

pub(crate) trait LeaseExt {
    fn by(self, client: &str) -> Self;
    fn wants(self, selector: &str) -> Self;
    fn pinned(self, exporter: &str) -> Self;
    fn lasting(self, secs: i64) -> Self;
    fn endless(self) -> Self;
    fn begins(self, secs: i64) -> Self;
    fn ends(self, secs: i64) -> Self;
    fn created(self, secs: i64) -> Self;
    fn allow_disabled(self) -> Self;
    fn released(self) -> Self;
    fn pending(self, reason: &str) -> Self;
    fn ready(self) -> Self;
    fn on(self, exporter: &str) -> Self;
    fn begun(self, secs: i64) -> Self;
    fn ended(self) -> Self;
    fn ended_at(self, secs: i64) -> Self;
    fn requeues(self) -> Self;
    /// A member of a group of so many, whose devices must have equal values of these labels.
    fn in_group(self, group: &str, size: usize, same: &[&str]) -> Self;
}

impl LeaseExt for Lease {
    fn by(mut self, client: &str) -> Self {
        self.spec.client_ref = LocalObjectReference::new(client);
        self
    }

    fn wants(mut self, selector: &str) -> Self {
        self.spec.selector = Selector::parse(selector).unwrap().to_label_selector();
        self
    }

    fn pinned(mut self, exporter: &str) -> Self {
        self.spec.exporter_ref = Some(LocalObjectReference::new(exporter));
        self.wants("")
    }

    fn lasting(mut self, secs: i64) -> Self {
        self.spec.duration = Some(GoDuration::from_secs(secs));
        self
    }

    fn endless(mut self) -> Self {
        self.spec.duration = None;
        self
    }

    fn begins(mut self, secs: i64) -> Self {
        self.spec.begin_time = Some(Time(at(secs)));
        self
    }

    fn ends(mut self, secs: i64) -> Self {
        self.spec.end_time = Some(Time(at(secs)));
        self
    }

    fn created(mut self, secs: i64) -> Self {
        self.metadata.creation_timestamp = Some(Time(at(secs)));
        self
    }

    fn allow_disabled(mut self) -> Self {
        self.spec.allow_disabled = Some(true);
        self
    }

    fn released(mut self) -> Self {
        self.spec.release = Some(true);
        self
    }

    fn pending(mut self, reason: &str) -> Self {
        let conditions = &mut self.status.get_or_insert_default().conditions;
        set_condition(conditions, "Pending", true, reason, "as before", None, at(0));
        self
    }

    fn ready(mut self) -> Self {
        let conditions = &mut self.status.get_or_insert_default().conditions;
        set_condition(conditions, "Ready", true, "Ready", "", None, at(0));
        self
    }

    fn on(mut self, exporter: &str) -> Self {
        self.status.get_or_insert_default().exporter_ref = Some(LocalObjectReference::new(exporter));
        self.begun(0)
    }

    fn begun(mut self, secs: i64) -> Self {
        self.status.get_or_insert_default().begin_time = Some(Time(at(secs)));
        self
    }

    fn ended(mut self) -> Self {
        self.status.get_or_insert_default().ended = true;
        self
    }

    fn ended_at(mut self, secs: i64) -> Self {
        self.status.get_or_insert_default().end_time = Some(Time(at(secs)));
        self.ended()
    }

    fn requeues(mut self) -> Self {
        self.metadata.annotations.get_or_insert_default().insert(transition::REQUEUE.to_owned(), "true".to_owned());
        self
    }

    fn in_group(mut self, group: &str, size: usize, same: &[&str]) -> Self {
        let same = same.iter().map(|key| (*key).to_owned());
        LeaseGroup { name: group.to_owned(), size, same: same.collect() }.write(&mut self.metadata);
        self
    }
}

pub(crate) fn client(name: &str, labels: &[(&str, &str)]) -> Client {
    let mut client = Client::new(name, ClientSpec::default());
    client.metadata.labels = Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
    client
}

/// A window for exporters of `board=x` that opens once.
pub(crate) fn window(name: &str, start: i64, secs: i64) -> MaintenanceWindow {
    let spec = MaintenanceWindowSpec {
        exporter_selector: Some(Selector::parse("board=x").unwrap().to_label_selector()),
        start: Some(Time(at(start))),
        duration: Some(GoDuration::from_secs(secs)),
        reason: Some("new power supply".to_owned()),
        ..MaintenanceWindowSpec::default()
    };
    MaintenanceWindow::new(name, spec)
}

/// A policy about the exporters that `exporters` selects.
pub(crate) fn policy(name: &str, exporters: &str, rules: &[Policy]) -> ExporterAccessPolicy {
    let spec = ExporterAccessPolicySpec {
        exporter_selector: Some(Selector::parse(exporters).unwrap().to_label_selector()),
        policies: Some(rules.to_vec()),
    };
    ExporterAccessPolicy::new(name, spec)
}

/// A rule for the clients that `clients` selects.
pub(crate) fn rule(clients: &str, priority: i64) -> Policy {
    Policy {
        priority: Some(priority),
        from: Some(vec![From { client_selector: Selector::parse(clients).unwrap().to_label_selector() }]),
        ..Policy::default()
    }
}

pub(crate) trait RuleExt {
    fn at_most(self, secs: i64) -> Self;
    fn spot(self) -> Self;
    fn described(self, text: &str) -> Self;
}

impl RuleExt for Policy {
    fn at_most(mut self, secs: i64) -> Self {
        self.maximum_duration = Some(GoDuration::from_secs(secs));
        self
    }

    fn spot(mut self) -> Self {
        self.spot_access = Some(true);
        self
    }

    fn described(mut self, text: &str) -> Self {
        self.description = Some(text.to_owned());
        self
    }
}

/// A quota of everybody and everything, one account a client, that limits nothing.
pub(crate) fn quota(name: &str) -> LeaseQuota {
    LeaseQuota::new(name, LeaseQuotaSpec::default())
}

pub(crate) trait QuotaExt {
    fn of(self, clients: &str) -> Self;
    fn counts(self, exporters: &str) -> Self;
    fn together(self) -> Self;
    fn by_team(self) -> Self;
    fn devices(self, most: i64) -> Self;
    fn time(self, secs: i64, period: i64) -> Self;
    fn waiting(self, most: i64) -> Self;
    fn weight(self, weight: i64) -> Self;
}

impl QuotaExt for LeaseQuota {
    fn of(mut self, clients: &str) -> Self {
        self.spec.client_selector = Some(Selector::parse(clients).unwrap().to_label_selector());
        self
    }

    fn counts(mut self, exporters: &str) -> Self {
        self.spec.exporter_selector = Some(Selector::parse(exporters).unwrap().to_label_selector());
        self
    }

    fn together(mut self) -> Self {
        self.spec.account_by = Some(AccountBy::All);
        self
    }

    fn by_team(mut self) -> Self {
        self.spec.account_by = Some(AccountBy::Label);
        self.spec.account_label = Some("team".to_owned());
        self
    }

    fn devices(mut self, most: i64) -> Self {
        self.spec.max_devices = Some(most);
        self
    }

    fn time(mut self, secs: i64, period: i64) -> Self {
        self.spec.max_device_time = Some(GoDuration::from_secs(secs));
        self.spec.period = Some(GoDuration::from_secs(period));
        self
    }

    fn waiting(mut self, most: i64) -> Self {
        self.spec.max_waiting = Some(most);
        self
    }

    fn weight(mut self, weight: i64) -> Self {
        self.spec.weight = Some(weight);
        self
    }
}
