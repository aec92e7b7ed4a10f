//! Key `config`, or `authentication` in its place, and `router`.

use std::{collections::BTreeMap, time::Duration};

use jumpstarter_model::GoDuration;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::{
    CONFIG_MAP,
    fault::{Fault, Faults},
    jwt::{self, JwtAuthenticator},
    keepalive::{self, Keepalive},
    read::{Document, Fields, Log, object},
    router::{self, Router},
    telemetry::{self, Telemetry},
};

/// Prefix of the user names of our own tokens, when none is given.
pub const DEFAULT_INTERNAL_PREFIX: &str = "internal:";
/// Life of new tokens when none is given: a year.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_hours(8760);
/// Tags that a lease may carry when nothing is said.
pub const DEFAULT_MAX_TAGS: usize = 10;

/// Longest list of things that are named in one warning.
const MAX_NAMED: usize = 5;

/// Everything that the ConfigMap says; complete and valid.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Which key the settings came from.
    pub source: Source,
    /// Our own tokens.
    pub internal: Internal,
    /// External identity providers. Always empty for now: a configuration that has some is refused.
    pub jwt: Vec<JwtAuthenticator>,
    /// Whether unknown external users get a Client object. Without external providers it has no effect.
    pub provisioning: bool,
    /// Idle and old connections.
    pub keepalive: Keepalive,
    /// Most tags a lease may carry.
    pub max_tags: usize,
    /// Label keys shown to nobody who does not ask for them.
    pub hidden_labels: Vec<String>,
    /// Label keys out of use, with the notice for each.
    pub deprecated_labels: BTreeMap<String, String>,
    /// Where exporters send their logs; `None` when switched off.
    pub telemetry: Option<Telemetry>,
    /// Routers by name.
    pub routers: BTreeMap<String, Router>,
    /// What is accepted but probably not meant. Log each.
    pub warnings: Vec<String>,
}

/// Where the settings came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Key `config`.
    Config,
    /// The old key `authentication`, which replaces `config` as a whole when it is there.
    LegacyAuthentication,
}

/// `authentication.internal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internal {
    /// Put before the subject of our own tokens to get the user name.
    pub prefix: String,
    /// Life of new tokens; longer than zero.
    pub token_lifetime: Duration,
}

impl Default for Internal {
    fn default() -> Self {
        Self { prefix: DEFAULT_INTERNAL_PREFIX.to_owned(), token_lifetime: DEFAULT_TOKEN_LIFETIME }
    }
}

impl ClusterConfig {
    /// Reads the ConfigMap. Keys of `data` that are not ours are left alone.
    ///
    /// # Errors
    /// Everything that is wrong, at once: missing keys, unknown or repeated keys, values that are not what is
    /// expected, and external identity providers, which are not supported yet.
    pub fn from_config_map(map: &ConfigMap) -> Result<Self, Faults> {
        let (config, mut faults) = Self::read(map);
        if !config.jwt.is_empty() {
            Log::new(config.source.key(), &mut faults).at(
                config.source.jwt_path(),
                "external identity providers are not supported yet: remove the entries, and give people tokens with \
                 `jmp admin create client`",
            );
        }
        Faults::check(subject(map), faults).map(|()| config)
    }

    /// What can be read, and what is wrong with the rest.
    pub(crate) fn read(map: &ConfigMap) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
        let text = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);

        let mut config = match (text("authentication"), text("config")) {
            (Some(old), config) => {
                if config.is_some() {
                    warnings.push("`authentication` is there, so `config` is ignored: remove `authentication`".into());
                }
                legacy(old, &mut Log::new("authentication", &mut faults), &mut warnings)
            }
            (None, Some(text)) => current(text, namespace, &mut Log::new("config", &mut faults), &mut warnings),
            (None, None) => {
                Log::new("config", &mut faults).whole("is missing: an empty text gives every setting its default");
                Self::defaults(Source::Config)
            }
        };
        // In the order of the text, the way people correct them.
        faults.sort_by_key(Fault::line);
        let of_settings = faults.len();
        let mut log = Log::new("router", &mut faults);
        match text("router") {
            Some(text) => {
                config.routers = router::read(text, &mut log, &mut warnings);
                if config.routers.is_empty() {
                    warnings.push("router: there is no router, so no client can reach a device".into());
                }
            }
            None => log.whole(
                "is missing: expected routers by name, such as `default: {endpoint: \"router.lab.example.com:443\"}`",
            ),
        }
        config.warnings = warnings;
        faults[of_settings..].sort_by_key(Fault::line);
        (config, faults)
    }

    fn defaults(source: Source) -> Self {
        Self {
            source,
            internal: Internal::default(),
            jwt: Vec::new(),
            provisioning: false,
            keepalive: Keepalive::default(),
            max_tags: DEFAULT_MAX_TAGS,
            hidden_labels: Vec::new(),
            deprecated_labels: BTreeMap::new(),
            telemetry: None,
            routers: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

impl Source {
    /// The key of the ConfigMap.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::LegacyAuthentication => "authentication",
        }
    }

    fn jwt_path(self) -> &'static str {
        match self {
            Self::Config => "authentication.jwt",
            Self::LegacyAuthentication => "jwt",
        }
    }
}

fn subject(map: &ConfigMap) -> String {
    let name = map.metadata.name.as_deref().unwrap_or(CONFIG_MAP);
    match &map.metadata.namespace {
        Some(namespace) => format!("ConfigMap {namespace}/{name}"),
        None => format!("ConfigMap {name}"),
    }
}

/// The key `config`.
fn current(text: &str, namespace: &str, log: &mut Log<'_>, warnings: &mut Vec<String>) -> ClusterConfig {
    let mut config = ClusterConfig::defaults(Source::Config);
    let Some(document) = Document::parse(text, log) else { return config };
    let mut fields = document.root().fields(log);
    if let Some(at) = fields.get("authentication") {
        let mut authentication = at.fields(log);
        config.internal = object(&mut authentication, "internal", log, internal);
        if object(&mut authentication, "k8s", log, enabled) {
            warnings.push("config: `authentication.k8s.enabled` has no effect".into());
        }
        config.jwt = authentication.get("jwt").map(|at| jwt::read(&at, log)).unwrap_or_default();
        authentication.end(log);
    }
    config.provisioning = object(&mut fields, "provisioning", log, enabled);
    config.keepalive = object(&mut fields, "grpc", log, |grpc, log| object(grpc, "keepalive", log, keepalive::read));
    config.max_tags = object(&mut fields, "leasePolicy", log, max_tags).unwrap_or(DEFAULT_MAX_TAGS);
    config.hidden_labels = object(&mut fields, "hiddenLabels", log, |hidden, log| {
        hidden.get("keys").map(|at| at.texts(log)).unwrap_or_default()
    });
    config.deprecated_labels = object(&mut fields, "deprecatedLabels", log, |deprecated, log| {
        deprecated.get("keys").map(|at| at.text_map(log)).unwrap_or_default()
    });
    config.telemetry = object(&mut fields, "telemetry", log, |fields, log| telemetry::read(fields, namespace, log));
    fields.end(log);
    warn_of_odd_labels(&config, warnings);
    if config.provisioning {
        warnings.push("config: `provisioning.enabled` has no effect without external identity providers".into());
    }
    config
}

/// The key `authentication`: its document says nothing of the other settings, which have values of their own then.
fn legacy(text: &str, log: &mut Log<'_>, warnings: &mut Vec<String>) -> ClusterConfig {
    warnings.push("the key `authentication` is out of use: move its content to `config`".into());
    let mut config = ClusterConfig::defaults(Source::LegacyAuthentication);
    config.keepalive.permit_without_stream = true;
    let Some(document) = Document::parse(text, log) else { return config };
    let mut fields = document.root().fields(log);
    for (key, value) in [("apiVersion", "jumpstarter.dev/v1alpha1"), ("kind", "AuthenticationConfiguration")] {
        if let Some(at) = fields.require(key, log)
            && at.text(log).is_some_and(|text| text != value)
        {
            at.fault(log, format!("expected `{value}`"));
        }
    }
    config.internal = object(&mut fields, "internal", log, |fields, log| Internal {
        prefix: prefix(fields, log),
        ..Internal::default()
    });
    config.jwt = fields.get("jwt").map(|at| jwt::read(&at, log)).unwrap_or_default();
    fields.end(log);
    config
}

fn internal(fields: &mut Fields<'_>, log: &mut Log<'_>) -> Internal {
    let token_lifetime = fields.get("tokenLifetime").and_then(|at| {
        let span = at.duration(log)?;
        if span <= GoDuration::ZERO {
            at.fault(log, format!("must be longer than zero, got {span}"));
            return None;
        }
        Some(Duration::from_nanos(span.as_nanos().unsigned_abs()))
    });
    Internal { prefix: prefix(fields, log), token_lifetime: token_lifetime.unwrap_or(DEFAULT_TOKEN_LIFETIME) }
}

fn prefix(fields: &mut Fields<'_>, log: &mut Log<'_>) -> String {
    let given = fields.get("prefix").and_then(|at| at.text(log));
    given.filter(|text| !text.is_empty()).unwrap_or_else(|| DEFAULT_INTERNAL_PREFIX.to_owned())
}

fn enabled(fields: &mut Fields<'_>, log: &mut Log<'_>) -> bool {
    fields.get("enabled").and_then(|at| at.flag(log)).unwrap_or_default()
}

/// `None` when nothing, zero or less is said.
fn max_tags(fields: &mut Fields<'_>, log: &mut Log<'_>) -> Option<usize> {
    let number = fields.get("maxTags").and_then(|at| at.integer(log))?;
    usize::try_from(number).ok().filter(|number| *number > 0)
}

/// Keys that no label can have hide nothing.
fn warn_of_odd_labels(config: &ClusterConfig, warnings: &mut Vec<String>) {
    let hidden = config.hidden_labels.iter().map(|key| ("hiddenLabels", key));
    let deprecated = config.deprecated_labels.keys().map(|key| ("deprecatedLabels", key));
    let odd = hidden.chain(deprecated).filter(|(_, key)| jumpstarter_model::labels::validate_key(key).is_err());
    for (section, key) in odd.take(MAX_NAMED) {
        warnings.push(format!("config: `{section}.keys` has {}, which is no label key", crate::fault::quote(key)));
    }
}
