use jumpstarter_cluster_config::ClusterConfig;

use super::{ROUTER, bad, config_map};

#[test]
fn every_fault_is_reported_at_once() {
    let text = "\
authentication:
  internal:
    prefix: [a]
    tokenLifetime: 10
    lifetime: 1h
  jwt: none
provisioning: true
grpc:
  keepalive:
    mintime: 1s
    minTime: -1s
    timeout: 3d
    permitWithoutStream: maybe
leasePolicy:
  maxTags: ten
  maxTags: 3
hiddenLabels:
  keys: [a, {b: c}]
deprecatedLabels:
  keys:
    a: x
    a: y
telemetry:
  enabled: true
  endpoint: https://x
  logging: {filter: {min_severity: loud}}
colour: blue
";
    let map = config_map(&[("config", text), ("router", "default:\n  labels: {a: b}\nsecond:\n  endpoint: ':1'\n")]);
    let faults = ClusterConfig::from_config_map(&map).unwrap_err();
    insta::assert_snapshot!(faults, @r#"
    ConfigMap lab/jumpstarter-controller: 18 faults
      key `config`, line 3, `authentication.internal.prefix`: expected text, found a list
      key `config`, line 4, `authentication.internal.tokenLifetime`: `10` has a number without a unit: write h, m, s, ms, us or ns after each number
      key `config`, line 5, `authentication.internal.lifetime`: unknown key; known here: tokenLifetime, prefix
      key `config`, line 6, `authentication.jwt`: expected a list, found `none`
      key `config`, line 7, `provisioning`: expected a mapping of keys to values, found `true`
      key `config`, line 10, `grpc.keepalive.mintime`: unknown key: did you mean `minTime`? Upper and lower case differ
      key `config`, line 11, `grpc.keepalive.minTime`: must not be negative, got -1s
      key `config`, line 12, `grpc.keepalive.timeout`: `3d` has the unknown unit `d`: use h, m, s, ms, us or ns
      key `config`, line 13, `grpc.keepalive.permitWithoutStream`: expected `true` or `false`, found `maybe`
      key `config`, line 15, `leasePolicy.maxTags`: expected a whole number, found `ten`
      key `config`, line 16, `leasePolicy.maxTags`: the key is there twice, first in line 15
      key `config`, line 18, `hiddenLabels.keys[1]`: expected text, found a mapping
      key `config`, line 22, `deprecatedLabels.keys.a`: the key is there twice, first in line 21
      key `config`, line 25, `telemetry.endpoint`: `https://x` is not an address: expected HOST:PORT such as `grpc.lab.example.com:443`
      key `config`, line 26, `telemetry.logging.filter.min_severity`: `loud` is not a severity: expected debug, info, warning, error, critical
      key `config`, line 27, `colour`: unknown key; known here: authentication, provisioning, grpc, leasePolicy, hiddenLabels, deprecatedLabels, telemetry
      key `router`, line 2, `default`: `endpoint` is required
      key `router`, line 4, `second.endpoint`: `:1` is not an address: expected HOST:PORT such as `grpc.lab.example.com:443`
    "#);
}

#[test]
fn an_unknown_key_is_named_with_its_path_and_line() {
    assert_eq!(
        bad("grpc:\n  keepalive:\n    minTime: 1s\n    color: red\n"),
        "key `config`, line 4, `grpc.keepalive.color`: unknown key; known here: minTime, timeout, intervalTime, \
         maxConnectionIdle, maxConnectionAge, maxConnectionAgeGrace, permitWithoutStream"
    );
    assert!(bad("Provisioning: {}").contains("did you mean `provisioning`?"));
    assert!(bad("\"a b\": 1").contains("`[\"a b\"]`: unknown key"), "{}", bad("\"a b\": 1"));
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    for text in ["a: b: c", "\n\n  {", "\t- x", "a: [1, 2", "&a [*a]", "- x\ny: z", "a: 1\n---\nb: 2\n"] {
        let faults = bad(text);
        assert!(faults.starts_with("key `config`, line "), "{text:?}: {faults}");
    }
    assert!(bad("just text").contains("expected a mapping of keys to values, found `just text`"));
    assert!(bad("[1]").contains("found a list"));
    assert!(bad(&"[".repeat(100_000)).contains("not valid YAML"));
    assert!(bad(&format!("a: {}", "x".repeat(2 << 20))).contains("longer than"));
}

#[test]
fn missing_keys_are_named() {
    let faults = ClusterConfig::from_config_map(&config_map(&[])).unwrap_err().to_string();
    assert!(faults.contains("key `config`: is missing") && faults.contains("key `router`: is missing"), "{faults}");
    assert!(faults.starts_with("ConfigMap lab/jumpstarter-controller: 2 faults\n"), "{faults}");
}

#[test]
fn the_old_key_is_strict_too() {
    let read = |text: &str| {
        let map = config_map(&[("authentication", text), ("router", ROUTER)]);
        ClusterConfig::from_config_map(&map).unwrap_err().to_string()
    };
    let faults = read("apiVersion: v1\nkind: AuthenticationConfiguration\ninternal: {tokenLifetime: 1h}\nx: 1\n");
    for part in
        ["line 1, `apiVersion`: expected `jumpstarter.dev/v1alpha1`", "`internal.tokenLifetime`", "`x`: unknown"]
    {
        assert!(faults.contains(part), "{faults}");
    }
    assert!(read("").contains("`kind` is required"));
}
