//! Flags of `jumpstarter controller`: as written, and as used.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use jumpstarter_controller::{QuarantineConfig, QueueConfig};
use jumpstarter_election::Timing;
use jumpstarter_model::GoDuration;

use super::Misconfigured;
use crate::{
    quarantine::WrittenQuarantine,
    telemetry::{ZapArgs, go_bool},
};

/// `jumpstarter controller`. Settings of the lab are in the ConfigMap `jumpstarter-controller`, those of the process in
/// the environment (NAMESPACE, GRPC_ENDPOINT, ROUTER_KEY, EXTERNAL_CERT_PEM, EXTERNAL_KEY_PEM, ...).
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct ControllerArgs {
    /// Address of the gRPC port
    #[arg(long, value_name = "HOST:PORT", default_value = ":8082")]
    grpc_bind_address: String,

    /// Address of /healthz and /readyz, or 0 for none
    #[arg(long, value_name = "HOST:PORT", default_value = ":8081")]
    health_probe_bind_address: String,

    /// Address of /metrics, or 0 for none
    #[arg(long, value_name = "HOST:PORT", default_value = "0")]
    metrics_bind_address: String,

    /// Take turns with other replicas: only one leads. Without it this process leads at once and must be the only one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = go_bool)]
    leader_elect: bool,

    /// How long a leader that is silent is waited for; whole seconds
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    leader_election_lease_duration: GoDuration,

    /// How long a leader leads without an answer of the API server
    #[arg(long, value_name = "DURATION", default_value = "7s")]
    leader_election_renew_deadline: GoDuration,

    /// Time between two renewals
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    leader_election_retry_period: GoDuration,

    /// Configuration of the cluster's client; else KUBECONFIG, else that of the Pod
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// How long ended leases are kept
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_LEASE_RETENTION", default_value = "168h")]
    lease_retention: GoDuration,

    /// The longest that a beforeLease hook may run
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_HOOK_LIMIT", default_value = "30m")]
    hook_limit: GoDuration,

    /// Time from the notice of preemption to the end of a spot lease; 0s ends it without a notice
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_PREEMPTION_GRACE", default_value = "1m")]
    preemption_grace: GoDuration,

    /// Wait after which a lease comes before all younger ones, whatever their priority or share; 0s: never
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_LONGEST_WAIT", default_value = "24h")]
    longest_wait: GoDuration,

    /// Time in which past use of devices comes to count half for fair share
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_SHARE_HALF_LIFE", default_value = "24h")]
    share_half_life: GoDuration,

    /// Most leases of one client that wait at once
    #[arg(long, value_name = "N", env = "JUMPSTARTER_MAX_WAITING_LEASES", default_value_t = 2000)]
    max_waiting_leases: usize,

    /// The most of a pool of exporters that may be quarantined since leases fail, in percent; 0: none [default: 20]
    #[arg(long, value_name = "PERCENT", env = "JUMPSTARTER_QUARANTINE_SHARE")]
    quarantine_share: Option<u32>,

    /// Length of the first quarantine of an exporter; each further one in a row lasts twice as long [default: 1h]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_QUARANTINE_TIME")]
    quarantine_time: Option<GoDuration>,

    /// Label key: exporters with the same value are a pool, of which only a share is quarantined [default: all are one]
    #[arg(long, value_name = "KEY", env = "JUMPSTARTER_QUARANTINE_POOL_LABEL")]
    quarantine_pool_label: Option<String>,

    /// End quarantines by time alone, without a check of the exporter
    #[arg(long, env = "JUMPSTARTER_NO_QUARANTINE_CHECKS", value_parser = clap::builder::FalseyValueParser::new())]
    no_quarantine_checks: bool,

    /// Time that is kept free for tear-down between two reservations of an exporter, and before its maintenance
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_TURNAROUND", default_value = "0s")]
    turnaround: GoDuration,

    /// How long a lost exporter may take to come back before it is offline
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_PRESENCE_GRACE", default_value = "8s")]
    presence_grace: GoDuration,

    /// How long this replica passes connections on after SIGTERM, until nobody sends it any more
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_DRAIN", default_value = "5s")]
    drain: GoDuration,

    /// Never tell clients how to reach exporters without a router
    #[arg(long, env = "JUMPSTARTER_NO_DIRECT", value_parser = clap::builder::FalseyValueParser::new())]
    no_direct: bool,

    /// No effect: /metrics is served over plain HTTP
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = go_bool)]
    metrics_secure: bool,

    /// No effect
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = go_bool)]
    enable_http2: bool,

    #[command(flatten)]
    pub(crate) zap: ZapArgs,
}

/// Flags as used: complete and valid.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) grpc_listen: String,
    pub(crate) health_listen: Option<String>,
    pub(crate) metrics_listen: Option<String>,
    /// `None`: lead at once.
    pub(crate) election: Option<Timing>,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) lease_retention: Duration,
    pub(crate) hook_limit: Duration,
    pub(crate) preemption_grace: Duration,
    pub(crate) queue: QueueConfig,
    pub(crate) quarantine: QuarantineConfig,
    pub(crate) turnaround: Duration,
    pub(crate) presence_grace: Duration,
    pub(crate) drain: Duration,
    pub(crate) direct_paths: bool,
    /// Flags without effect. Log each.
    pub(crate) warnings: Vec<&'static str>,
}

impl ControllerArgs {
    /// Checks everything; all faults are reported at once.
    pub(crate) fn resolve(self) -> Result<Settings, Misconfigured> {
        let mut faults = Vec::new();
        let mut span = |name: &str, value: GoDuration| {
            let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or_else(|_| {
                faults.push(format!("--{name}: {value} is out of range"));
                0
            });
            Duration::from_nanos(nanoseconds)
        };
        let lease = span("leader-election-lease-duration", self.leader_election_lease_duration);
        let deadline = span("leader-election-renew-deadline", self.leader_election_renew_deadline);
        let retry = span("leader-election-retry-period", self.leader_election_retry_period);
        let lease_retention = span("lease-retention", self.lease_retention);
        let hook_limit = span("hook-limit", self.hook_limit);
        let preemption_grace = span("preemption-grace", self.preemption_grace);
        let queue = QueueConfig {
            longest_wait: span("longest-wait", self.longest_wait),
            share_half_life: span("share-half-life", self.share_half_life),
            max_waiting: self.max_waiting_leases,
        };
        let turnaround = span("turnaround", self.turnaround);
        let presence_grace = span("presence-grace", self.presence_grace);
        let drain = span("drain", self.drain);
        let quarantine = WrittenQuarantine {
            share: self.quarantine_share,
            time: self.quarantine_time,
            pool_label: self.quarantine_pool_label,
            no_checks: self.no_quarantine_checks,
        };
        let quarantine = quarantine.resolve(&mut faults);
        if presence_grace > Duration::from_secs(8) {
            faults
                .push("--presence-grace: more than 8s would let a lost exporter go unnoticed for over 30s".to_owned());
        }
        let timing = Timing::new(lease, deadline, retry)
            .inspect_err(|error| faults.push(format!("--leader-election-*: {error}")))
            .unwrap_or_default();
        let mut warnings = Vec::new();
        if self.metrics_secure {
            warnings.push("--metrics-secure has no effect: /metrics is served over plain HTTP");
        }
        if !faults.is_empty() {
            return Err(Misconfigured(format!("the flags do not make sense:\n  {}", faults.join("\n  "))));
        }
        let listen = |text: String| Some(text).filter(|text| text != "0" && !text.is_empty());
        Ok(Settings {
            grpc_listen: self.grpc_bind_address,
            health_listen: listen(self.health_probe_bind_address),
            metrics_listen: listen(self.metrics_bind_address),
            election: self.leader_elect.then_some(timing),
            kubeconfig: self.kubeconfig,
            lease_retention,
            hook_limit,
            preemption_grace,
            queue,
            quarantine,
            turnaround,
            presence_grace,
            drain,
            direct_paths: !self.no_direct,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn resolve(flags: &str) -> Result<Settings, Misconfigured> {
        let line = std::iter::once("controller").chain(flags.split_whitespace());
        Line::try_parse_from(line).unwrap().args.resolve()
    }

    #[test]
    fn todays_flags_are_understood() {
        let settings =
            resolve("--leader-elect --health-probe-bind-address=:8081 --metrics-bind-address=:8080").unwrap();
        assert_eq!(settings.health_listen.as_deref(), Some(":8081"));
        assert_eq!(settings.metrics_listen.as_deref(), Some(":8080"));
        assert_eq!(settings.election, Some(Timing::default()));
        let settings = resolve("--leader-elect=false --metrics-bind-address 0 --enable-http2=T").unwrap();
        assert_eq!((settings.election, settings.metrics_listen), (None, None));
        assert_eq!(resolve("").unwrap().grpc_listen, ":8082");
    }

    #[test]
    fn faults_are_told_together() {
        let error = resolve("--presence-grace 1m --leader-election-lease-duration 3s --drain=-1s").unwrap_err();
        for part in ["--presence-grace", "--leader-election", "--drain"] {
            assert!(error.to_string().contains(part), "{part} is missing in: {error}");
        }
    }
}
