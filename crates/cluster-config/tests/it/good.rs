use std::time::Duration;

use jumpstarter_cluster_config::{ClusterConfig, Keepalive, Severity, Source};

use super::{ROUTER, config_map, good};

/// What the operator writes for a resource without settings.
const OPERATOR: &str = "\
authentication:
  internal:
    prefix: 'internal:'
    tokenLifetime: 43800h0m0s
  jwt: []
  k8s: {}
deprecatedLabels: {}
grpc:
  keepalive:
    minTime: 1s
    permitWithoutStream: true
hiddenLabels: {}
leasePolicy:
  maxTags: 10
provisioning:
  enabled: false
";

const OPERATOR_ROUTERS: &str = "\
default:
  endpoint: router-0.jumpstarter.example.com:443
router-1:
  endpoint: router-1.jumpstarter.example.com:443
  labels:
    router-index: \"1\"
";

#[test]
fn what_the_operator_writes_is_read() {
    let map = config_map(&[("config", OPERATOR), ("router", OPERATOR_ROUTERS)]);
    let config = ClusterConfig::from_config_map(&map).unwrap();
    assert_eq!(config.source, Source::Config);
    assert_eq!(config.internal.prefix, "internal:");
    assert_eq!(config.internal.token_lifetime, Duration::from_hours(43800));
    assert_eq!(config.keepalive, Keepalive { permit_without_stream: true, ..Keepalive::default() });
    assert_eq!(config.max_tags, 10);
    assert!(config.hidden_labels.is_empty() && config.deprecated_labels.is_empty());
    assert!(!config.provisioning);
    assert_eq!(config.telemetry, None);
    assert_eq!(config.routers.len(), 2);
    assert_eq!(config.routers["default"].endpoint, "router-0.jumpstarter.example.com:443");
    assert!(config.routers["default"].labels.is_empty());
    assert_eq!(config.routers["router-1"].labels["router-index"], "1");
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn an_empty_text_gives_every_default() {
    for text in ["", "{}", "# nothing yet\n", "---\n", "authentication: {}\ngrpc: {keepalive: {}}\nleasePolicy:\n"] {
        let config = good(text);
        assert_eq!(config.internal.prefix, "internal:", "{text:?}");
        assert_eq!(config.internal.token_lifetime, Duration::from_hours(8760));
        assert_eq!(config.keepalive, Keepalive::default());
        assert_eq!(config.keepalive.min_time, Duration::from_secs(1));
        assert!(!config.keepalive.permit_without_stream);
        assert_eq!(config.max_tags, 10);
    }
}

#[test]
fn empty_and_null_objects_are_accepted_everywhere() {
    for value in ["{}", "null", ""] {
        // Nested flow mappings: `{a: {b: VALUE}}`.
        let section = |path: &[&str]| {
            let open: Vec<String> = path.iter().map(|key| format!("{{{key}: ")).collect();
            good(&format!("{}{value}{}", open.concat(), "}".repeat(path.len())))
        };
        for path in [
            &["authentication"][..],
            &["authentication", "internal"],
            &["authentication", "k8s"],
            &["provisioning"],
            &["grpc"],
            &["grpc", "keepalive"],
            &["leasePolicy"],
            &["hiddenLabels"],
            &["deprecatedLabels"],
            &["deprecatedLabels", "keys"],
            &["telemetry"],
            &["telemetry", "logging"],
            &["telemetry", "logging", "filter"],
        ] {
            assert_eq!(section(path).max_tags, 10, "{path:?}");
        }
    }
}

#[test]
fn every_setting_is_read() {
    let config = good(
        "\
authentication:
  internal:
    prefix: 'lab:'
    tokenLifetime: 1h30m
  k8s:
    enabled: true
provisioning:
  enabled: yes
grpc:
  keepalive:
    minTime: 0
    permitWithoutStream: true
    timeout: 180s
    intervalTime: 10s
    maxConnectionIdle: 1.5h
    maxConnectionAge: 24h
    maxConnectionAgeGrace: 500ms
leasePolicy:
  maxTags: 3
hiddenLabels:
  keys: [secret, example.com/rack]
deprecatedLabels:
  keys:
    old: use `new`
    older:
telemetry:
  enabled: true
  certificate: ''
  logging:
    filter:
      min_severity: warning
",
    );
    assert_eq!(config.internal.prefix, "lab:");
    assert_eq!(config.internal.token_lifetime, Duration::from_mins(90));
    assert!(config.provisioning);
    let keepalive = Keepalive {
        min_time: Duration::from_secs(1),
        permit_without_stream: true,
        timeout: Some(Duration::from_mins(3)),
        interval: Some(Duration::from_secs(10)),
        max_connection_idle: Some(Duration::from_mins(90)),
        max_connection_age: Some(Duration::from_hours(24)),
        max_connection_age_grace: Some(Duration::from_millis(500)),
    };
    assert_eq!(config.keepalive, keepalive);
    assert_eq!(config.max_tags, 3);
    assert_eq!(config.hidden_labels, ["secret", "example.com/rack"]);
    assert_eq!(config.deprecated_labels["old"], "use `new`");
    assert_eq!(config.deprecated_labels["older"], "");
    let telemetry = config.telemetry.unwrap();
    assert_eq!(telemetry.endpoint, "jumpstarter-telemetry.lab:9093");
    assert_eq!(telemetry.min_severity, Severity::Warning);
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
}

#[test]
fn numbers_that_mean_nothing_give_the_default() {
    for number in ["0", "-1"] {
        assert_eq!(good(&format!("leasePolicy: {{maxTags: {number}}}")).max_tags, 10);
    }
    assert_eq!(
        good("authentication: {internal: {tokenLifetime: ''}}").internal.token_lifetime,
        Duration::from_hours(8760)
    );
}

#[test]
fn the_old_key_replaces_the_new_one() {
    let old = "\
apiVersion: jumpstarter.dev/v1alpha1
kind: AuthenticationConfiguration
internal:
  prefix: 'old:'
";
    let new = "leasePolicy: {maxTags: 3}\nprovisioning: {enabled: true}\n";
    let map = config_map(&[("authentication", old), ("config", new), ("router", ROUTER)]);
    let config = ClusterConfig::from_config_map(&map).unwrap();
    assert_eq!(config.source, Source::LegacyAuthentication);
    assert_eq!(config.internal.prefix, "old:");
    assert_eq!(config.max_tags, 10);
    assert!(!config.provisioning);
    assert!(config.keepalive.permit_without_stream);
    assert_eq!(config.keepalive.min_time, Duration::from_secs(1));
    assert!(config.warnings.iter().any(|text| text.contains("`config` is ignored")), "{:?}", config.warnings);
}

#[test]
fn routers_are_read_leniently() {
    let router = "\
a: {endpoint: 'a.example.com:443', weight: 3}
b: {endpoint: b.example.com, labels: {site: north, rack: 4, site: south}}
a: {endpoint: 'c.example.com:443'}
";
    let config = ClusterConfig::from_config_map(&config_map(&[("config", ""), ("router", router)])).unwrap();
    assert_eq!(config.routers["a"].endpoint, "c.example.com:443");
    assert_eq!(config.routers["b"].endpoint, "b.example.com");
    let labels: Vec<_> = config.routers["b"].labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("rack", "4"), ("site", "south")]);
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    // Nothing to hand out is odd, but people begin so.
    for empty in ["", "{}"] {
        let config = ClusterConfig::from_config_map(&config_map(&[("config", ""), ("router", empty)])).unwrap();
        assert!(config.routers.is_empty() && config.warnings.len() == 1, "{:?}", config.warnings);
    }
}

#[test]
fn keys_of_others_are_left_alone() {
    let map = config_map(&[("config", ""), ("router", ROUTER), ("notes", "{{{{")]);
    assert!(ClusterConfig::from_config_map(&map).is_ok());
}

#[test]
fn anchors_work() {
    let config = good("hiddenLabels: {keys: &k [a, b]}\ndeprecatedLabels: {keys: {c: &n text, d: *n}}\n");
    assert_eq!(config.deprecated_labels["d"], "text");
}

#[test]
fn a_router_out_of_reach_may_say_so() {
    let router = "a: {endpoint: 'a.example.com:443', probe: false}\nb: {endpoint: 'b.example.com:443', probe: true}\n";
    let config = ClusterConfig::from_config_map(&config_map(&[("config", ""), ("router", router)])).unwrap();
    assert_eq!((config.routers["a"].probe, config.routers["b"].probe), (false, true));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let wrong = "a: {endpoint: 'a.example.com:443', probe: never}\n";
    let faults = ClusterConfig::from_config_map(&config_map(&[("config", ""), ("router", wrong)])).unwrap_err();
    assert!(faults.to_string().contains("`a.probe`"), "{faults}");
}
