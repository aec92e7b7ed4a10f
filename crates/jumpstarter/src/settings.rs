//! Settings of `jumpstarter serve`: as written in a file, the environment or flags, and as used.

mod follow;
mod routers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use jumpstarter_controller::{QuarantineConfig, QueueConfig, RouterTarget};
use jumpstarter_model::GoDuration;
use serde::Deserialize;

use crate::quarantine::WrittenQuarantine;
pub(crate) use follow::Follower;
use routers::WrittenRouter;

/// `jumpstarter serve`. Flags win over the environment, the environment over the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Settings file (YAML); keys are the long options below, in camelCase
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) written: Written,
}

/// Settings as written: everything optional.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Written {
    /// Directory of the store, the keys and the certificates
    #[arg(long, value_name = "DIR", env = "JUMPSTARTER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address of the one port for gRPC and streams [default: 0.0.0.0:8082]
    #[arg(long, value_name = "HOST:PORT", env = "JUMPSTARTER_LISTEN")]
    pub(crate) listen: Option<String>,

    /// Address that clients and exporters are given [default: this host's name and the port]
    #[arg(long, value_name = "HOST:PORT", env = "JUMPSTARTER_ADVERTISE")]
    pub(crate) advertise: Option<String>,

    /// Address of /metrics, /healthz and /readyz, or `off` [default: 127.0.0.1:8081]
    #[arg(long, value_name = "HOST:PORT", env = "JUMPSTARTER_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<String>,

    /// Namespace of all objects [default: default]
    #[arg(long, value_name = "NAME", env = "JUMPSTARTER_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Certificate chain (PEM); without it a CA is made in the data directory
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,

    /// CA bundle (PEM) that clients need for --tls-cert, if their system does not trust it
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_CA")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Another router to hand out, repeatable: `HOST:PORT,key=value,...`. Exporters with such labels prefer it. With
    /// `,unprobed` it is not asked whether it is well: for a router that only clients and exporters can reach
    #[arg(long = "router", value_name = "HOST:PORT[,KEY=VALUE]...")]
    #[serde(default)]
    pub(crate) routers: Vec<WrittenRouter>,

    /// Hand out only the routers named with --router, not the built-in one
    #[arg(long)]
    #[serde(default)]
    pub(crate) no_builtin_router: bool,

    /// Never tell clients how to reach exporters without a router
    #[arg(long, env = "JUMPSTARTER_NO_DIRECT", value_parser = clap::builder::FalseyValueParser::new())]
    #[serde(default)]
    pub(crate) no_direct: bool,

    /// How long ended leases are kept, e.g. 168h [default: 168h]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_LEASE_RETENTION")]
    pub(crate) lease_retention: Option<String>,

    /// The longest that a beforeLease hook may run [default: 30m]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_HOOK_LIMIT")]
    pub(crate) hook_limit: Option<String>,

    /// Time from the notice of preemption to the end of a spot lease; 0s ends it without a notice [default: 1m]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_PREEMPTION_GRACE")]
    pub(crate) preemption_grace: Option<String>,

    /// Wait after which a lease comes before all younger ones, whatever their priority or share; 0s: never [default: 24h]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_LONGEST_WAIT")]
    pub(crate) longest_wait: Option<String>,

    /// Time in which past use of devices comes to count half for fair share [default: 24h]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_SHARE_HALF_LIFE")]
    pub(crate) share_half_life: Option<String>,

    /// Most leases of one client that wait at once [default: 2000]
    #[arg(long, value_name = "N", env = "JUMPSTARTER_MAX_WAITING_LEASES")]
    pub(crate) max_waiting_leases: Option<usize>,

    /// The most of a pool of exporters that may be quarantined since leases fail, in percent; 0: none [default: 20]
    #[arg(long, value_name = "PERCENT", env = "JUMPSTARTER_QUARANTINE_SHARE")]
    pub(crate) quarantine_share: Option<u32>,

    /// Length of the first quarantine of an exporter; each further one in a row lasts twice as long [default: 1h]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_QUARANTINE_TIME")]
    pub(crate) quarantine_time: Option<String>,

    /// Label key: exporters with the same value are a pool, of which only a share is quarantined [default: all are one]
    #[arg(long, value_name = "KEY", env = "JUMPSTARTER_QUARANTINE_POOL_LABEL")]
    pub(crate) quarantine_pool_label: Option<String>,

    /// End quarantines by time alone, without a check of the exporter
    #[arg(long, env = "JUMPSTARTER_NO_QUARANTINE_CHECKS", value_parser = clap::builder::FalseyValueParser::new())]
    #[serde(default)]
    pub(crate) no_quarantine_checks: bool,

    /// Time that is kept free for tear-down between two reservations of an exporter, and before its maintenance [default: 0s]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_TURNAROUND")]
    pub(crate) turnaround: Option<String>,

    /// How long a lost exporter may take to come back before it is offline [default: 8s]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_PRESENCE_GRACE")]
    pub(crate) presence_grace: Option<String>,

    /// Life of newly issued tokens [default: 8760h]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_TOKEN_LIFETIME")]
    pub(crate) token_lifetime: Option<String>,

    /// How long running tunnels may go on after SIGTERM [default: 5s]
    #[arg(long, value_name = "DURATION", env = "JUMPSTARTER_DRAIN")]
    pub(crate) drain: Option<String>,

    /// Label key shown only on request, repeatable
    #[arg(long = "hidden-label", value_name = "KEY")]
    #[serde(default)]
    pub(crate) hidden_labels: Vec<String>,

    /// Label keys out of use and the notice for each (file only)
    #[arg(skip)]
    #[serde(default)]
    pub(crate) deprecated_labels: BTreeMap<String, String>,

    /// Most tags a lease may carry [default: 10]
    #[arg(long, value_name = "N", env = "JUMPSTARTER_MAX_TAGS")]
    pub(crate) max_tags: Option<usize>,
}

impl Written {
    /// What is set here wins over `other`.
    fn or(self, other: Self) -> Self {
        fn list<T>(ours: Vec<T>, theirs: Vec<T>) -> Vec<T> {
            if ours.is_empty() { theirs } else { ours }
        }
        Self {
            data_dir: self.data_dir.or(other.data_dir),
            listen: self.listen.or(other.listen),
            advertise: self.advertise.or(other.advertise),
            metrics_listen: self.metrics_listen.or(other.metrics_listen),
            namespace: self.namespace.or(other.namespace),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_ca: self.tls_ca.or(other.tls_ca),
            routers: list(self.routers, other.routers),
            no_builtin_router: self.no_builtin_router || other.no_builtin_router,
            no_direct: self.no_direct || other.no_direct,
            lease_retention: self.lease_retention.or(other.lease_retention),
            hook_limit: self.hook_limit.or(other.hook_limit),
            preemption_grace: self.preemption_grace.or(other.preemption_grace),
            longest_wait: self.longest_wait.or(other.longest_wait),
            share_half_life: self.share_half_life.or(other.share_half_life),
            max_waiting_leases: self.max_waiting_leases.or(other.max_waiting_leases),
            quarantine_share: self.quarantine_share.or(other.quarantine_share),
            quarantine_time: self.quarantine_time.or(other.quarantine_time),
            quarantine_pool_label: self.quarantine_pool_label.or(other.quarantine_pool_label),
            no_quarantine_checks: self.no_quarantine_checks || other.no_quarantine_checks,
            turnaround: self.turnaround.or(other.turnaround),
            presence_grace: self.presence_grace.or(other.presence_grace),
            token_lifetime: self.token_lifetime.or(other.token_lifetime),
            drain: self.drain.or(other.drain),
            hidden_labels: list(self.hidden_labels, other.hidden_labels),
            deprecated_labels: other.deprecated_labels,
            max_tags: self.max_tags.or(other.max_tags),
        }
    }
}

impl Written {
    /// What is said of quarantines.
    fn quarantine(&self, faults: &mut Vec<String>) -> QuarantineConfig {
        let time = self.quarantine_time.as_deref().and_then(|text| {
            text.parse::<GoDuration>().map_err(|error| faults.push(format!("--quarantine-time: {error}"))).ok()
        });
        let written = WrittenQuarantine {
            share: self.quarantine_share,
            time,
            pool_label: self.quarantine_pool_label.clone(),
            no_checks: self.no_quarantine_checks,
        };
        written.resolve(faults)
    }
}

/// Settings as used: complete and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    /// `None`: derived from the bound address.
    pub(crate) advertise: Option<String>,
    pub(crate) metrics_listen: MetricsListen,
    pub(crate) namespace: String,
    pub(crate) certificate: Certificate,
    pub(crate) routers: Vec<RouterTarget>,
    pub(crate) builtin_router: bool,
    pub(crate) direct_paths: bool,
    pub(crate) lease_retention: Duration,
    pub(crate) hook_limit: Duration,
    pub(crate) preemption_grace: Duration,
    pub(crate) queue: QueueConfig,
    pub(crate) quarantine: QuarantineConfig,
    pub(crate) turnaround: Duration,
    pub(crate) presence_grace: Duration,
    pub(crate) token_lifetime: Duration,
    pub(crate) drain: Duration,
    pub(crate) hidden_labels: Vec<String>,
    pub(crate) deprecated_labels: BTreeMap<String, String>,
    pub(crate) max_tags: usize,
}

/// Where `/metrics` and the health checks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsListen {
    /// Nowhere.
    Off,
    /// At the default address, if it is free.
    Default(SocketAddr),
    /// Here, or the service does not start.
    At(SocketAddr),
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// A CA of our own in the data directory.
    OwnCa,
    /// The operator's files.
    Files { cert: PathBuf, key: PathBuf, ca: Option<PathBuf> },
}

const HOUR: Duration = Duration::from_hours(1);

impl ServeArgs {
    /// Reads the file, merges, and checks everything; all faults are reported at once.
    pub(crate) fn resolve(self) -> anyhow::Result<Settings> {
        let file = match &self.config {
            Some(path) => read_file(path)?,
            None => Written::default(),
        };
        let written = self.written.or(file);
        let mut faults = Vec::new();
        let mut span = |text: Option<&str>, option: &str, default: Duration, zero_ok: bool| {
            let Some(text) = text else { return default };
            match text.parse::<GoDuration>() {
                Ok(parsed) if parsed.is_positive() || (zero_ok && parsed == GoDuration::ZERO) => {
                    Duration::from_nanos(u64::try_from(parsed.as_nanos()).unwrap_or_default())
                }
                Ok(_) => {
                    faults.push(format!("{option}: `{text}` must be longer than nothing"));
                    default
                }
                Err(error) => {
                    faults.push(format!("{option}: {error}"));
                    default
                }
            }
        };
        let lease_retention = span(written.lease_retention.as_deref(), "--lease-retention", 168 * HOUR, true);
        let hook_limit = span(written.hook_limit.as_deref(), "--hook-limit", HOUR / 2, false);
        let preemption_grace = span(written.preemption_grace.as_deref(), "--preemption-grace", HOUR / 60, true);
        let usual = QueueConfig::default();
        let queue = QueueConfig {
            longest_wait: span(written.longest_wait.as_deref(), "--longest-wait", usual.longest_wait, true),
            share_half_life: span(
                written.share_half_life.as_deref(),
                "--share-half-life",
                usual.share_half_life,
                false,
            ),
            max_waiting: written.max_waiting_leases.unwrap_or(usual.max_waiting),
        };
        let turnaround = span(written.turnaround.as_deref(), "--turnaround", Duration::ZERO, true);
        let presence_grace = span(written.presence_grace.as_deref(), "--presence-grace", Duration::from_secs(8), true);
        let token_lifetime = span(written.token_lifetime.as_deref(), "--token-lifetime", 8760 * HOUR, false);
        let drain = span(written.drain.as_deref(), "--drain", Duration::from_secs(5), true);

        let quarantine = written.quarantine(&mut faults);
        if presence_grace > Duration::from_secs(8) {
            faults
                .push("--presence-grace: more than 8s would let a lost exporter go unnoticed for over 30s".to_owned());
        }
        let metrics_listen = match written.metrics_listen.as_deref() {
            Some("off") => MetricsListen::Off,
            Some(text) => text.parse().map_or_else(
                |_| {
                    faults.push(format!("--metrics-listen: `{text}` is not IP:PORT or `off`"));
                    MetricsListen::Off
                },
                MetricsListen::At,
            ),
            None => MetricsListen::Default(SocketAddr::from(([127, 0, 0, 1], 8081))),
        };
        let namespace = written.namespace.unwrap_or_else(|| "default".to_owned());
        if let Err(error) = jumpstarter_model::name::validate_label("namespace", &namespace) {
            faults.push(format!("--namespace: {error}"));
        }
        if let Some(advertise) = &written.advertise
            && !has_port(advertise)
        {
            faults.push(format!("--advertise: `{advertise}` is not HOST:PORT"));
        }
        let certificate = match (written.tls_cert, written.tls_key) {
            (None, None) => {
                if written.tls_ca.is_some() {
                    faults.push("--tls-ca: needs --tls-cert and --tls-key".to_owned());
                }
                Certificate::OwnCa
            }
            (Some(cert), Some(key)) => Certificate::Files { cert, key, ca: written.tls_ca },
            _ => {
                faults.push("--tls-cert and --tls-key: give both or neither".to_owned());
                Certificate::OwnCa
            }
        };
        let routers = routers::resolve(&written.routers, &mut faults);
        if written.no_builtin_router && routers.is_empty() {
            faults.push("--no-builtin-router: name at least one --router".to_owned());
        }
        for key in written.hidden_labels.iter().chain(written.deprecated_labels.keys()) {
            if let Err(error) = jumpstarter_model::labels::validate_key(key) {
                faults.push(format!("label key `{key}`: {error}"));
            }
        }
        let data_dir = written.data_dir.or_else(default_data_dir);
        if data_dir.is_none() {
            faults.push("--data-dir: name the directory for the store and keys".to_owned());
        }
        if !faults.is_empty() {
            bail!("the settings do not make sense:\n  {}", faults.join("\n  "));
        }
        Ok(Settings {
            data_dir: data_dir.unwrap_or_default(),
            listen: written.listen.unwrap_or_else(|| "0.0.0.0:8082".to_owned()),
            advertise: written.advertise,
            metrics_listen,
            namespace,
            certificate,
            routers,
            builtin_router: !written.no_builtin_router,
            direct_paths: !written.no_direct,
            lease_retention,
            hook_limit,
            preemption_grace,
            queue,
            quarantine,
            turnaround,
            presence_grace,
            token_lifetime,
            drain,
            hidden_labels: written.hidden_labels,
            deprecated_labels: written.deprecated_labels,
            max_tags: written.max_tags.unwrap_or(10),
        })
    }
}

/// Where systemd put the state directory, else the user's data home.
pub(crate) fn default_data_dir() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("STATE_DIRECTORY")
        .or_else(|| variable("XDG_DATA_HOME").map(|home| home.join("jumpstarter")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/share/jumpstarter")))
}

fn has_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn read_file(path: &Path) -> anyhow::Result<Written> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read the settings file {}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(Written::default());
    }
    serde_saphyr::from_str(&text).with_context(|| format!("read the settings file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(written: Written) -> ServeArgs {
        ServeArgs { config: None, written: Written { data_dir: Some("d".into()), ..written } }
    }

    #[test]
    fn defaults_are_complete() {
        let settings = args(Written::default()).resolve().unwrap();
        assert_eq!(settings.listen, "0.0.0.0:8082");
        assert_eq!(settings.namespace, "default");
        assert_eq!(settings.lease_retention, Duration::from_hours(168));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let error = args(Written {
            lease_retention: Some("a week".into()),
            tls_key: Some("k".into()),
            namespace: Some("Bad_Name".into()),
            routers: vec!["nowhere".parse().unwrap()],
            metrics_listen: Some("here".into()),
            ..Written::default()
        })
        .resolve()
        .unwrap_err()
        .to_string();
        for part in ["--lease-retention", "--tls-cert", "--namespace", "--router", "--metrics-listen"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.yaml");
        std::fs::write(&path, "listen: 127.0.0.1:1\nnamespace: lab\nhiddenLabels: [secret]\n").unwrap();
        let written = Written { listen: Some("127.0.0.1:2".into()), data_dir: Some("d".into()), ..Written::default() };
        let settings = ServeArgs { config: Some(path.clone()), written: written.clone() }.resolve().unwrap();
        assert_eq!((settings.listen.as_str(), settings.namespace.as_str()), ("127.0.0.1:2", "lab"));
        assert_eq!(settings.hidden_labels, ["secret"]);

        std::fs::write(&path, "lisen: 127.0.0.1:1\n").unwrap();
        let error = ServeArgs { config: Some(path), written }.resolve().unwrap_err();
        assert!(format!("{error:#}").contains("lisen"), "{error:#}");
    }
}
