//! Certificates: made once, issued again when due, reloaded while serving, refused with a reason.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jumpstarter_transport::connect::connect;
use jumpstarter_transport::{ChannelOptions, ChannelTls, OwnCa, ServeLimits, ServingTls, TlsError};
use rustls_pki_types::CertificateDer;

use crate::kit::{LONG, check, start_health, tls_connect};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

async fn presented(addr: std::net::SocketAddr) -> CertificateDer<'static> {
    let stream = tls_connect(addr, &["h2"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn the_ca_is_made_once_and_its_leaf_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let hosts = ["lab.example.com".to_owned(), "192.0.2.7".to_owned(), "[2001:db8::1]".to_owned()];
    let first = ServingTls::own(OwnCa::load_or_create(path).unwrap(), &hosts).unwrap();
    for (name, expected) in [("ca.key", 0o600), ("server.key", 0o600), ("ca.crt", 0o644), ("server.crt", 0o644)] {
        assert_eq!(mode(&path.join(name)), expected, "{name}");
    }
    let names = first.hosts();
    for name in ["lab.example.com", "192.0.2.7", "2001:db8::1", "localhost", "127.0.0.1", "::1"] {
        assert!(names.iter().any(|have| have == name), "{name} is not in {names:?}");
    }
    let (ca, leaf) = (read(path, "ca.crt"), read(path, "server.crt"));
    assert_eq!(first.ca_pem().unwrap(), ca);
    let life = first.not_after().duration_since(Timestamp::now());
    assert!(life > SignedDuration::from_hours(390 * 24) && life < SignedDuration::from_hours(397 * 24), "{life:?}");

    let again = ServingTls::own(OwnCa::load_or_create(path).unwrap(), &hosts).unwrap();
    assert_eq!(
        (read(path, "ca.crt"), read(path, "server.crt")),
        (ca.clone(), leaf.clone()),
        "a restart changes nothing"
    );
    // Time passes: nothing happens for two thirds of its life, then it is issued again.
    let later = |days: i64| Timestamp::now() + SignedDuration::from_hours(24 * days);
    again.refresh(later(250));
    assert_eq!(read(path, "server.crt"), leaf);
    again.refresh(later(280));
    assert_ne!(read(path, "server.crt"), leaf);
    let renewed = read(path, "server.crt");
    again.set_hosts(&["other.example.com".to_owned()]).unwrap();
    assert_ne!(read(path, "server.crt"), renewed);
    assert!(again.hosts().contains(&"other.example.com".to_owned()));
    assert!(!again.hosts().contains(&"lab.example.com".to_owned()));
    assert_eq!(read(path, "ca.crt"), ca);

    for host in ["", "https://lab", "lab:8082", "lab/", "läb"] {
        let error = again.set_hosts(&[host.to_owned()]).unwrap_err();
        assert!(matches!(error, TlsError::Host(_)), "{host}: {error}");
    }
}

#[test]
fn half_a_ca_is_refused_and_a_broken_leaf_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let ca = OwnCa::load_or_create(path).unwrap().ca_pem().to_owned();
    std::fs::write(path.join("server.crt"), "garbage").unwrap();
    std::fs::write(path.join("server.key"), "garbage").unwrap();
    let served = ServingTls::own(OwnCa::load_or_create(path).unwrap(), &[]).unwrap();
    assert_eq!(served.ca_pem().unwrap(), ca);

    let key = read(path, "ca.key");
    std::fs::remove_file(path.join("ca.key")).unwrap();
    assert!(matches!(OwnCa::load_or_create(path), Err(TlsError::HalfCa { .. })));
    std::fs::write(path.join("ca.key"), "garbage").unwrap();
    assert!(matches!(OwnCa::load_or_create(path), Err(TlsError::Content { .. })));
    let other = tempfile::tempdir().unwrap();
    OwnCa::load_or_create(other.path()).unwrap();
    std::fs::write(path.join("ca.key"), read(other.path(), "ca.key")).unwrap();
    assert!(matches!(OwnCa::load_or_create(path), Err(TlsError::Mismatch { .. })));
    std::fs::write(path.join("ca.key"), key).unwrap();
    assert_eq!(OwnCa::load_or_create(path).unwrap().ca_pem(), ca);
}

#[test]
fn files_of_the_operator_are_checked_at_start() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [&one, &two] {
        ServingTls::own(OwnCa::load_or_create(directory.path()).unwrap(), &[]).unwrap();
    }
    let (certificate, key, ca) =
        (one.path().join("server.crt"), one.path().join("server.key"), one.path().join("ca.crt"));
    assert!(ServingTls::from_files(&certificate, &key, None).unwrap().ca_pem().is_none());
    assert_eq!(
        ServingTls::from_files(&certificate, &key, Some(&ca)).unwrap().ca_pem().unwrap(),
        read(one.path(), "ca.crt")
    );

    let missing = one.path().join("missing");
    let error = ServingTls::from_files(&missing, &key, None).unwrap_err();
    assert!(matches!(error, TlsError::Read { .. }) && error.to_string().contains("missing"), "{error}");
    let error = ServingTls::from_files(&certificate, &two.path().join("server.key"), None).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    let error = ServingTls::from_files(&key, &key, None).unwrap_err();
    assert!(matches!(error, TlsError::Content { .. }), "{error}");
    let error = ServingTls::from_files(&certificate, &certificate, None).unwrap_err();
    assert!(matches!(error, TlsError::Content { .. }), "{error}");
    let error = ServingTls::from_files(&certificate, &key, Some(&key)).unwrap_err();
    assert!(matches!(error, TlsError::Content { .. }), "{error}");
}

#[tokio::test]
async fn changed_files_are_taken_over_while_serving() {
    let (old, new, live) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [&old, &new] {
        ServingTls::own(OwnCa::load_or_create(directory.path()).unwrap(), &[]).unwrap();
    }
    let install = |from: &Path| {
        for name in ["server.key", "server.crt", "ca.crt"] {
            std::fs::copy(from.join(name), live.path().join(name)).unwrap();
        }
    };
    install(old.path());
    let path = |name: &str| live.path().join(name);
    let tls = ServingTls::from_files(&path("server.crt"), &path("server.key"), Some(&path("ca.crt"))).unwrap();
    let tls = Arc::new(tls);
    let server = start_health(Some(Arc::clone(&tls)), ServeLimits::default()).await;
    let trust = ChannelTls { ca_pem: tls.ca_pem(), ..ChannelTls::default() };
    let channel = connect(&server.endpoint(), &trust, &ChannelOptions::default()).await.unwrap();
    assert_eq!(check(channel.clone()).await.unwrap(), "SERVING");
    let before = presented(server.addr).await;

    // Broken, then half replaced: the old one stays.
    std::fs::write(path("server.crt"), "garbage").unwrap();
    tls.refresh(Timestamp::now());
    assert_eq!(presented(server.addr).await, before);
    std::fs::copy(new.path().join("server.crt"), path("server.crt")).unwrap();
    tls.refresh(Timestamp::now());
    assert_eq!(presented(server.addr).await, before);
    std::fs::remove_file(path("server.key")).unwrap();
    tls.refresh(Timestamp::now());
    assert_eq!(presented(server.addr).await, before);

    // Whole: the running server finds it by itself.
    install(new.path());
    let started = std::time::Instant::now();
    while presented(server.addr).await == before {
        assert!(started.elapsed() < LONG, "the new certificate is never served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(tls.ca_pem().unwrap(), read(new.path(), "ca.crt"));
    assert_eq!(check(channel).await.unwrap(), "SERVING", "connections made before go on");
    assert!(connect(&server.endpoint(), &trust, &ChannelOptions::default()).await.is_err(), "the old CA is gone");
    server.stop().await;
}
