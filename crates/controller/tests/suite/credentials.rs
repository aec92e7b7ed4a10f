//! Who is let in (protocol.md §2; kubernetes.md §6.1).

use std::{cell::RefCell, io::Write};

use jiff::SignedDuration;
use jumpstarter_auth::{SigningKey, TokenIssuer};
use jumpstarter_model::Client;
use jumpstarter_protocol::{
    client::v1::{GetLeaseRequest, ListExportersRequest, RotateTokenRequest},
    v1::{DialRequest, RegisterRequest, StatusRequest},
};
use jumpstarter_store::{Key, Kind};
use k8s_openapi::api::core::v1::Secret;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::support::{
    FakeClient, Faults, Lab, eventually,
    exporter::offer,
    for_exporter,
    lab::{NAMESPACE, now, pairs, with},
};

/// Metadata of alice with other values; `None` leaves a key out.
fn changed(token: &str, changes: &[(&'static str, Option<&str>)]) -> MetadataMap {
    let mut map = pairs(&[
        ("authorization", &format!("Bearer {token}")),
        ("jumpstarter-kind", "Client"),
        ("jumpstarter-namespace", NAMESPACE),
        ("jumpstarter-name", "alice"),
    ]);
    for (key, value) in changes {
        map.remove(*key);
        if let Some(value) = value {
            map.insert(*key, value.parse().unwrap());
        }
    }
    map
}

async fn list(alice: &FakeClient, metadata: MetadataMap) -> Result<(), Status> {
    let request = ListExportersRequest { parent: format!("namespaces/{NAMESPACE}"), ..ListExportersRequest::default() };
    alice.stub.clone().list_exporters(with(request, metadata)).await.map(drop)
}

#[tokio::test]
async fn each_kind_of_bad_credentials_has_its_code_and_text() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let good = alice.identity.token.clone();
    let subject = lab.issuer.verify(&good, now()).unwrap().sub;
    let aged = |life| (*lab.issuer).clone().with_lifetime(SignedDuration::from_secs(life));
    let expired = aged(-10).issue(&subject, now()).unwrap().token.into_exposed();
    let foreign =
        TokenIssuer::new(SigningKey::generate().unwrap()).issue(&subject, now()).unwrap().token.into_exposed();
    let bob = lab.client("bob").await.identity.token;
    let exporter = lab.exporter("dut", &[]).await.identity.token;
    let truncated = &good[..good.len() - 8];
    let huge = "x".repeat(9000);
    let auth = "authorization";

    let rows: &[(&str, MetadataMap, Code, &str)] = &[
        ("good", changed(&good, &[]), Code::Ok, ""),
        ("scheme in other case", changed("", &[(auth, Some(&format!("bEARER {good}")))]), Code::Ok, ""),
        ("none", changed("", &[(auth, None)]), Code::Unauthenticated, "missing authorization"),
        ("nothing at all", MetadataMap::new(), Code::Unauthenticated, "missing authorization"),
        ("not bearer", changed("", &[(auth, Some("Basic abc"))]), Code::InvalidArgument, ""),
        ("no JWT", changed("garbage", &[]), Code::Unauthenticated, "failed to authenticate token"),
        ("empty", changed("", &[(auth, Some("Bearer "))]), Code::InvalidArgument, "Bearer"),
        ("truncated", changed(truncated, &[]), Code::Unauthenticated, ""),
        ("oversized", changed(&huge, &[]), Code::Unauthenticated, "failed to authenticate token"),
        ("expired", changed(&expired, &[]), Code::Unauthenticated, "token is expired"),
        ("foreign key", changed(&foreign, &[]), Code::Unauthenticated, "oidc:"),
        ("another client's", changed(&bob, &[]), Code::PermissionDenied, "permission denied"),
        ("an exporter's", changed(&exporter, &[]), Code::PermissionDenied, "permission denied"),
        (
            "an exporter's under its name",
            changed(&exporter, &[("jumpstarter-name", Some("dut"))]),
            Code::NotFound,
            "client lab/dut",
        ),
        ("no namespace", changed(&good, &[("jumpstarter-namespace", None)]), Code::InvalidArgument, "missing metadata"),
        ("no kind", changed(&good, &[("jumpstarter-kind", None)]), Code::InvalidArgument, "missing metadata"),
        ("no name", changed(&good, &[("jumpstarter-name", None)]), Code::InvalidArgument, "name"),
        (
            "unknown kind",
            changed(&good, &[("jumpstarter-kind", Some("client"))]),
            Code::InvalidArgument,
            "kind mismatch",
        ),
        (
            "wrong kind",
            changed(&good, &[("jumpstarter-kind", Some("Exporter"))]),
            Code::InvalidArgument,
            "kind mismatch",
        ),
        (
            "no such client",
            changed(&good, &[("jumpstarter-name", Some("nobody"))]),
            Code::NotFound,
            "client lab/nobody",
        ),
        (
            "foreign namespace",
            changed(&good, &[("jumpstarter-namespace", Some("other"))]),
            Code::PermissionDenied,
            "namespace",
        ),
        // The token is looked at first.
        (
            "no token and no name",
            changed("", &[(auth, None), ("jumpstarter-name", None)]),
            Code::Unauthenticated,
            "missing authorization",
        ),
        (
            "expired and wrong kind",
            changed(&expired, &[("jumpstarter-kind", Some("Exporter"))]),
            Code::Unauthenticated,
            "token is expired",
        ),
    ];
    for (what, metadata, code, text) in rows {
        let answer = list(&alice, metadata.clone()).await;
        let (found, message) =
            answer.map_or_else(|error| (error.code(), error.message().to_owned()), |()| (Code::Ok, String::new()));
        assert_eq!(found, *code, "{what}: {message}");
        assert!(message.contains(text), "{what}: {message}");
        assert!(*what == "good" || !message.contains(&good) && !message.contains("ey"), "{what} repeats a token");
        let says_expired = message.to_lowercase().contains("expired");
        assert_eq!(says_expired, *text == "token is expired", "{what}: {message}");
    }

    for (key, code) in [
        (auth, Code::InvalidArgument),
        ("jumpstarter-namespace", Code::InvalidArgument),
        ("jumpstarter-kind", Code::InvalidArgument),
        ("jumpstarter-name", Code::InvalidArgument),
    ] {
        let mut twice = changed(&good, &[]);
        let value = twice.get(key).unwrap().clone();
        twice.append(key, value);
        assert_eq!(list(&alice, twice).await.unwrap_err().code(), code, "{key} twice");
    }
}

#[tokio::test]
async fn the_name_of_the_resource_is_checked_before_the_caller() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let request = GetLeaseRequest { name: "leases/x".into() };
    let refused = alice.stub.clone().get_lease(with(request, MetadataMap::new())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let request = GetLeaseRequest { name: format!("namespaces/{NAMESPACE}/leases/x") };
    let refused = alice.stub.clone().get_lease(with(request, MetadataMap::new())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let request = alice.identity.request(GetLeaseRequest { name: "namespaces/other/leases/x".into() });
    assert_eq!(alice.stub.clone().get_lease(request).await.unwrap_err().code(), Code::PermissionDenied);
    let refused = alice.controller.clone().dial(with(DialRequest::default(), MetadataMap::new())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "here the caller comes first");
}

#[tokio::test]
async fn each_side_calls_what_is_meant_for_it() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let exporter = lab.exporter("dut", &[]).await;
    let refused = exporter.stub.clone().status(alice.identity.request(StatusRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let refused = exporter.stub.clone().register(alice.identity.request(RegisterRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let request = exporter.identity.request(DialRequest { lease_name: "x".into(), ..DialRequest::default() });
    assert_eq!(alice.controller.clone().dial(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_token_of_an_object_that_was_deleted_and_made_again_is_refused() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let exporter = lab.exporter("dut", &[]).await;
    lab.delete(Kind::Client, "alice").await;
    lab.delete(Kind::Exporter, "dut").await;
    eventually("alice is gone", async || {
        let refused = list(&alice, alice.identity.metadata()).await.err()?;
        (refused.code() == Code::NotFound).then_some(())
    })
    .await;
    eventually("the secrets are gone", async || {
        let left = lab.get::<k8s_openapi::api::core::v1::Secret>("alice-client").await;
        left.is_none().then_some(())
    })
    .await;
    let again = lab.client("alice").await;
    lab.exporter("dut", &[]).await;
    let refused = list(&alice, alice.identity.metadata()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let refused = exporter.try_register(&[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    list(&again, again.identity.metadata()).await.unwrap();
}

#[tokio::test]
async fn a_rotated_token_works_and_so_does_the_old_one() {
    let lab = Lab::start().await;
    let mut alice = lab.client("alice").await;
    let request = RotateTokenRequest { parent: format!("namespaces/{NAMESPACE}") };
    let rotated = alice.stub.clone().rotate_token(alice.identity.request(request)).await.unwrap().into_inner();
    assert_eq!(lab.client_identity("alice").await.token, rotated.token);
    let claims = lab.issuer.verify(&rotated.token, now()).unwrap();
    assert_eq!(rotated.expiry.unwrap().seconds, claims.expires_at.as_second());
    list(&alice, alice.identity.metadata()).await.unwrap();
    alice.identity.token = rotated.token;
    list(&alice, alice.identity.metadata()).await.unwrap();
}

#[tokio::test]
async fn a_deleted_secret_comes_back_with_another_token() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    lab.delete(Kind::Secret, "alice-client").await;
    let back = lab.client_identity("alice").await;
    list(&alice, back.metadata()).await.unwrap();
    let stored: Client = lab.get("alice").await.unwrap();
    let status = stored.status.unwrap();
    assert_eq!(status.credential.unwrap().name, "alice-client");
    assert_eq!(status.endpoint.as_deref(), Some("controller.example:8082"));
    let condition = &status.conditions[0];
    assert_eq!((condition.type_.as_str(), condition.reason.as_str()), ("TokenExpiring", "Valid"));
    assert!(condition.observed_generation.is_some());
}

thread_local! {
    /// What this thread logs, once somebody wants to know. A subscriber of one thread alone would miss call sites that
    /// other threads passed first.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.as_mut().map(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_and_no_ticket_is_ever_logged() {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("jumpstarter_controller=trace,jumpstarter_store=trace,jumpstarter_auth=trace")
        .with_writer(|| Log)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    LOG.set(Some(Vec::new()));

    let lab = Lab::start().await;
    let (exporter, mut feed) = lab.available("dut").await;
    let alice = lab.client("alice").await;
    alice.create("one", for_exporter("dut")).await.unwrap();
    feed.leased().await;
    let mut listening = exporter.serve("one").await;
    let dialled = alice.dial("one").await.unwrap();
    let offered = offer(&mut listening).await;
    let stranger = format!("{}x", alice.identity.token);
    list(&alice, changed(&stranger, &[])).await.unwrap_err();
    let request = RotateTokenRequest { parent: format!("namespaces/{NAMESPACE}") };
    let rotated = alice.stub.clone().rotate_token(alice.identity.request(request)).await.unwrap().into_inner();
    alice.delete("one").await.unwrap();
    alice.await_end("one").await;

    let text = String::from_utf8(LOG.take().unwrap()).unwrap();
    assert!(text.contains("lease created") && text.contains("authentication failed"), "something is logged: {text}");
    let secrets =
        [&alice.identity.token, &exporter.identity.token, &rotated.token, &dialled.router_token, &offered.router_token];
    for secret in secrets {
        for part in secret.split('.').filter(|part| part.len() > 40) {
            assert!(!text.contains(part), "a secret was logged");
        }
    }
}

#[tokio::test]
async fn an_external_user_name_is_not_taken_from_an_internal_token() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let bob = lab.client("bob").await;
    lab.edit::<Client>("bob", |client| {
        client.spec.username =
            Some(format!("internal:{}", lab.issuer.verify(&alice.identity.token, now()).unwrap().sub));
    })
    .await;
    // An administrator may let one identity act for another object, by its full name and not otherwise.
    eventually("alice may act for bob", async || {
        list(&bob, changed(&alice.identity.token, &[("jumpstarter-name", Some("bob"))])).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_slow_to_be_stored_keeps_no_other_waiting() {
    let (lab, store) = Lab::behind(Faults::SLOW, 1, |_| ()).await;
    *store.held_write.lock().unwrap() = Some(Key::new(Kind::Secret, NAMESPACE, "slow-client"));
    let (slow, quick) = (async { lab.client("slow").await }, async {
        // Looked at after the slow one, which comes first by its name and is there already.
        eventually("the slow one is stored", async || lab.get::<Client>("slow").await).await;
        lab.exporter("quick", &[]).await;
        assert!(lab.get::<Secret>("slow-client").await.is_none());
        *store.held_write.lock().unwrap() = None;
    });
    tokio::join!(slow, quick);
}
