use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use jumpstarter_cluster_config::{Environment, Faults, RouterEnvironment};

fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn read(pairs: &[(&str, &str)]) -> Result<Environment, Faults> {
    Environment::from_vars(vars(pairs), None)
}

#[test]
fn what_the_operator_sets_is_read() {
    let pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
    let read = read(&[
        ("NAMESPACE", "lab"),
        ("CONTROLLER_KEY", "seed"),
        ("ROUTER_KEY", "secret"),
        ("GRPC_ENDPOINT", "grpc.example.com:443"),
        ("LOGIN_ENDPOINT", "login.example.com"),
        ("LOGIN_SERVICE_PORT", "8086"),
        ("CA_BUNDLE_PEM", pem),
        ("EXTERNAL_CERT_PEM", "/tls/tls.crt"),
        ("EXTERNAL_KEY_PEM", "/tls/tls.key"),
        ("GIN_MODE", "release"),
        ("PATH", "/"),
    ])
    .unwrap();
    assert_eq!((read.namespace.as_str(), read.endpoint.as_str()), ("lab", "grpc.example.com:443"));
    assert_eq!(read.router_key.expose(), "secret");
    assert_eq!(read.login_listen, ":8086");
    assert_eq!(read.login_endpoint.as_deref(), Some("login.example.com"));
    assert_eq!(read.router_endpoint, None);
    assert_eq!(read.ca_bundle.as_deref(), Some(pem));
    assert_eq!(read.certificate.as_ref().unwrap().key.to_str(), Some("/tls/tls.key"));
    assert_eq!(read.warnings.len(), 1);
    assert!(!format!("{read:?}").contains("\"secret\""), "{read:?}");
}

#[test]
fn defaults_hold_when_variables_are_absent_or_empty() {
    let given = [("ROUTER_KEY", "k"), ("GRPC_ENDPOINT", ""), ("NAMESPACE", "")];
    let read = Environment::from_vars(vars(&given), Some("mounted\n")).unwrap();
    assert_eq!(read.namespace, "mounted");
    assert_eq!(read.endpoint, "localhost:8082");
    assert_eq!(read.login_listen, ":8086");
    assert_eq!((read.certificate, read.ca_bundle), (None, None));
    let router = RouterEnvironment::from_vars(vars(&[("ROUTER_KEY", "k")])).unwrap();
    assert_eq!(router.endpoint, "localhost:8083");
}

#[test]
fn every_fault_is_reported_and_no_secret_with_it() {
    let mut given = vars(&[
        ("NAMESPACE", "No_Such"),
        ("GRPC_ENDPOINT", "grpc.example.com"),
        ("GRPC_ROUTER_ENDPOINT", "a:b"),
        ("LOGIN_SERVICE_PORT", "http"),
        ("CA_BUNDLE_PEM", "/ca.pem"),
        ("EXTERNAL_KEY_PEM", "-----BEGIN PRIVATE KEY-----\nMIGH"),
    ]);
    given.push(("LOGIN_ENDPOINT".into(), OsString::from_vec(vec![0xff])));
    let faults = Environment::from_vars(given, None).unwrap_err();
    insta::assert_snapshot!(faults, @r#"
    the environment: 9 faults
      variable NAMESPACE: namespace `No_Such` is malformed: use lower-case letters, digits and `-`, with a letter or digit at both ends
      variable LOGIN_SERVICE_PORT: `http` is no address to listen on: expected a port, `:PORT` or HOST:PORT
      variable CA_BUNDLE_PEM: expected certificates in PEM (the text itself, not the name of a file)
      variable ROUTER_KEY: is missing: controller and routers need the same secret, usually from the Secret `jumpstarter-router-secret`
      variable GRPC_ENDPOINT: `grpc.example.com` is not an address: expected HOST:PORT such as `grpc.lab.example.com:443`
      variable GRPC_ROUTER_ENDPOINT: `a:b` is not an address: expected HOST:PORT such as `grpc.lab.example.com:443`
      variable LOGIN_ENDPOINT: is not UTF-8
      variable EXTERNAL_KEY_PEM: expected the name of a PEM file, found its content
      variable EXTERNAL_CERT_PEM: is missing: EXTERNAL_KEY_PEM is set, and both files are needed
    "#);
    let router = RouterEnvironment::from_vars(Vec::new()).unwrap_err().to_string();
    assert!(router.contains("variable ROUTER_KEY: is missing"), "{router}");
}
