//! The rules of the files, without another reader.
use jumpstarter_config::{
    ClientChoice, ClientConfig, ConfigError, ConfigHome, DriverInstance, Env, ExporterConfig, OnFailure,
};

const CLIENT: &str = "metadata: {namespace: lab, name: alice}\n";

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().copied().collect()
}

#[test]
fn client_files_refuse_what_they_do_not_know() {
    for (extra, text) in [
        ("colour: red", "colour"),
        ("metadata: {namespace: a, name: b, labels: {}}", "labels"),
        ("metadata: {name: b}", "namespace"),
        ("metadata: {namespace: a}", "name"),
        ("drivers: {permit: []}", "permit"),
        ("leases: {patience: 3}", "patience"),
        ("leases: {acquisition_timeout: 4}", "at least 5"),
        ("leases: {retry_timeout: -1}", "negative"),
        ("kind: ExporterConfig", "ExporterConfig"),
        ("apiVersion: jumpstarter.dev/v2", "v2"),
        ("endpoint: [1", "line"),
        ("- a list", ""),
        ("", "empty"),
    ] {
        let yaml = if extra.starts_with(['m', '-']) || extra.is_empty() {
            extra.to_owned()
        } else {
            format!("{CLIENT}{extra}\n")
        };
        let err = ClientConfig::from_yaml(&yaml, &Env::empty()).unwrap_err().to_string();
        assert!(err.contains(text), "{yaml}: {err}");
    }
    let many = "metadata: {namespace: a, name: b}\ntoken: 5\ncolour: red\nleases:\n  retry_timeout: soon\n";
    let many = ClientConfig::from_yaml(many, &Env::empty()).unwrap_err().to_string();
    for line in [
        "3 faults",
        "line 2, column 1: token: expected text (put it in quotes), found 5",
        "line 3, column 1: colour: unknown key; expected one of apiVersion, kind, metadata, endpoint, tls, token, \
         refresh_token, grpcOptions, drivers, shell, leases",
        "line 5, column 3: leases.retry_timeout: expected a number, found 'soon'",
    ] {
        assert!(many.contains(line), "no `{line}` in\n{many}");
    }
    for fine in [
        "tls: {fancy: 1}",
        "leases: {acquisition_timeout: '7', dial_timeout: 1e1}",
        "shell: {colour: 1}",
        "alias: other",
        "path: /x",
        "drivers: {allow: 'a,b'}",
        "grpcOptions: null",
    ] {
        ClientConfig::from_yaml(&format!("{CLIENT}{fine}\n"), &Env::empty()).unwrap();
    }
}

#[test]
fn the_environment_fills_gaps_and_never_overrides() {
    let all = env(&[
        ("JMP_NAMESPACE", "other"),
        ("JMP_NAME", "bob"),
        ("JMP_TOKEN", "t"),
        ("jmp_endpoint", "host:1"),
        ("JMP_TLS", r#"{"insecure":true}"#),
        ("JMP_DRIVERS_ALLOW", "a,UNSAFE"),
        ("ACQUISITION_TIMEOUT", "77"),
    ]);
    let config = ClientConfig::from_yaml(&format!("{CLIENT}tls: {{insecure: false}}\n"), &all).unwrap();
    assert_eq!((config.metadata.name.as_str(), config.endpoint.as_deref()), ("alice", Some("host:1")));
    assert!(!config.tls.insecure && config.drivers.r#unsafe);
    assert_eq!((config.token.unwrap().expose(), config.leases.acquisition_timeout), ("t", 77));
    let alone = ClientConfig::from_env(&all).unwrap().unwrap();
    assert_eq!((alone.metadata.name.as_str(), alone.alias.as_str()), ("bob", "default"));
    assert!(alone.tls.insecure);
    assert!(ClientConfig::from_env(&env(&[("JMP_NAME", "bob")])).unwrap().is_none());
    assert!(ClientConfig::from_yaml(CLIENT, &env(&[("JMP_TLS", "{")])).unwrap_err().to_string().contains("JMP_TLS"));
    let exporter = ExporterConfig::from_yaml("metadata: {name: ex}\n", &all).unwrap();
    assert_eq!((exporter.metadata.namespace.as_deref(), exporter.token), (Some("other"), None));
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let config =
        ClientConfig::from_yaml(&format!("{CLIENT}token: hush\nrefresh_token: quiet\n"), &Env::empty()).unwrap();
    let environment = env(&[("JMP_TOKEN", "hush")]);
    let text = format!("{config:?} {environment:?}");
    assert!(!text.contains("hush") && !text.contains("quiet") && text.contains("[redacted]"), "{text}");
}

#[test]
fn the_client_that_a_command_means() {
    let dir = tempfile::tempdir().unwrap();
    let home = ConfigHome::at(dir.path());
    let none = Env::empty();
    let select = |choice: &ClientChoice, env: &Env| home.select_client(choice, env).map(|c| c.alias);
    assert!(matches!(select(&ClientChoice::Default, &none), Err(ConfigError::NoDefaultClient)));
    assert!(matches!(select(&ClientChoice::Alias("a".into()), &none), Err(ConfigError::Missing { .. })));
    assert!(matches!(select(&ClientChoice::Alias("../a".into()), &none), Err(ConfigError::Alias(_))));
    let path = dir.path().join("some.thing.yaml");
    std::fs::write(&path, CLIENT).unwrap();
    assert_eq!(select(&ClientChoice::Path(path), &none).unwrap(), "some");
    let mut config = ClientConfig::from_yaml(CLIENT, &none).unwrap();
    config.alias = "mine".to_owned();
    home.save_client(&config).unwrap();
    let mut user = home.load_user().unwrap();
    user.set_current_client(Some("mine".to_owned()));
    home.save_user(&user).unwrap();
    assert_eq!(select(&ClientChoice::Default, &none).unwrap(), "mine");
    let both = env(&[("JMP_NAMESPACE", "n"), ("JMP_NAME", "x")]);
    assert_eq!(
        select(&ClientChoice::Default, &both).unwrap(),
        "default",
        "the environment goes before the current client"
    );
    assert_eq!(home.client_aliases().unwrap(), ["mine"]);
    assert!(home.delete_client("mine").unwrap() && !home.delete_client("mine").unwrap());
    assert!(matches!(select(&ClientChoice::Default, &none), Err(ConfigError::NoDefaultClient)));
    for (variables, expected) in [
        (&[("JMP_CLIENT_CONFIG_HOME", "/a"), ("XDG_CONFIG_HOME", "/b"), ("HOME", "/c")][..], "/a"),
        (&[("XDG_CONFIG_HOME", "/b"), ("HOME", "/c")], "/b/jumpstarter"),
        (&[("HOME", "/c")], "/c/.config/jumpstarter"),
    ] {
        assert_eq!(ConfigHome::resolve(&env(variables)).unwrap().path().to_str(), Some(expected));
    }
    assert!(matches!(ConfigHome::resolve(&none), Err(ConfigError::NoHome)));
}

#[test]
fn driver_instances_in_all_their_spellings() {
    let parse = |yaml: &str| {
        let yaml = format!("metadata: {{namespace: lab, name: ex}}\nsomething: new\nexport: {{d: {yaml}}}\n");
        ExporterConfig::from_yaml(&yaml, &Env::empty()).map(|config| config.export.get("d").unwrap().clone())
    };
    assert!(matches!(parse("{type: a.B, ref: x}").unwrap(), DriverInstance::Driver { .. }));
    assert!(matches!(parse("{ref: x}").unwrap(), DriverInstance::Proxy { .. }));
    assert!(matches!(parse("{}").unwrap(), DriverInstance::Composite { .. }));
    assert!(matches!(parse("{ref: x, children: {}}").unwrap(), DriverInstance::Composite { .. }));
    for (yaml, text) in [
        ("null", "line 3, column 10: export.d: expected a driver"),
        ("{type: a.B, config: x}", "line 3, column 25: export.d.config: expected a mapping, found 'x'"),
        ("{type: a.B, config: null}", "export.d.config: expected a mapping, found nothing"),
        ("{children: null}", "export.d.children: expected a mapping of names to drivers"),
        ("{children: {e: {ref: 1}}}", "export.d.children.e.ref: expected text (put it in quotes), found 1"),
        ("{type: 5, description: 6}", "2 faults"),
    ] {
        let err = parse(yaml).unwrap_err().to_string();
        assert!(err.contains(text), "{yaml}: {err}");
    }
}

#[test]
fn an_exporters_file_is_judged_as_a_whole() {
    let parse = |yaml: &str| ExporterConfig::from_yaml(yaml, &Env::empty());
    let text = |yaml: &str| parse(yaml).unwrap_err().to_string();
    let many = text(
        "metadata: {name: ex, labels: {}}\ntoken: 12\nhooks:\n  beforeLease:\n    onFailure: explode\n    timeout: -1\n  \
         check: {script: x, onFailure: warn}\n",
    );
    for line in [
        "7 faults",
        "line 1, column 22: metadata.labels: unknown key; expected one of namespace, name",
        "metadata: key 'namespace' is missing",
        "line 2, column 1: token: expected text (put it in quotes), found 12",
        "line 5, column 5: hooks.beforeLease.onFailure: expected warn or endLease or exit, found 'explode'",
        "line 6, column 5: hooks.beforeLease.timeout: expected a whole number, 0 or more, found -1",
        "hooks.check.onFailure: expected endLease or exit, found 'warn'",
    ] {
        assert!(many.contains(line), "no `{line}` in\n{many}");
    }
    assert!(many.contains("hooks.beforeLease: key 'script' is missing"), "{many}");
    assert!(text("a: [1\n").contains("line"), "{}", text("a: [1\n"));
    assert!(text("metadata: {namespace: a, name: b}\nkind: ClientConfig\n").contains("expected ExporterConfig"));

    let fine = "metadata: {namespace: a, name: b}\ntls: {insecure: 'yes'}\nhook: {}\nhooks:\n  afterLease: {script: x, timeout: '7', retries: 3}\n";
    let config = parse(fine).unwrap();
    assert!(config.tls.insecure);
    assert_eq!(config.hooks.after_lease.unwrap().timeout, 7);
    assert_eq!(config.hooks.check, None);
    let warnings = config.warnings.join("\n");
    for line in
        ["line 3, column 1: hook: unknown key, ignored", "line 5, column 41: hooks.afterLease.retries: unknown key"]
    {
        assert!(warnings.contains(line), "no `{line}` in\n{warnings}");
    }
}

#[test]
fn a_check_that_fails_has_failed() {
    for (given, expected) in [("", OnFailure::EndLease), ("onFailure: exit", OnFailure::Exit)] {
        let text = format!("metadata: {{namespace: a, name: b}}\nhooks: {{check: {{script: x, {given}}}}}\n");
        let config = ExporterConfig::from_yaml(&text, &Env::empty()).unwrap();
        assert_eq!(config.warnings, [""; 0]);
        assert!(!config.hooks.is_empty());
        let written = ExporterConfig::from_yaml(&config.to_yaml().unwrap(), &Env::empty()).unwrap();
        let check = written.hooks.check.unwrap();
        assert_eq!((check.script.as_str(), check.timeout, check.on_failure), ("x", 120, expected));
    }
    let none = ExporterConfig::from_yaml("metadata: {namespace: a, name: b}\n", &Env::empty()).unwrap();
    assert!(!none.to_yaml().unwrap().contains("check"), "files of exporters without a check are as they were");
}
