//! Metadata and tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jumpstarter_protocol::{
    client::v1::GetExporterRequest,
    v1::{ListenRequest, RegisterRequest},
};
use jumpstarter_testkit::{
    Lab, MINUTE, eventually,
    grpc::{Grpc, metadata, with},
};
use tonic::{Code, metadata::MetadataMap};

use super::{refused, still_serving};

/// What a case sends as metadata.
type Pairs<'a> = &'a [(&'static str, &'a str)];

fn look(client: &Grpc, metadata: MetadataMap) -> Result<jumpstarter_protocol::client::v1::Exporter, tonic::Status> {
    let request = GetExporterRequest { name: "namespaces/default/exporters/dut".to_owned(), ..Default::default() };
    client.call(client.clients().get_exporter(with(request, metadata)))
}

#[test]
fn metadata_must_be_complete_and_unambiguous() {
    let lab = Lab::start();
    let _ = lab.exporter_config("dut", &[("a".to_owned(), "b".to_owned())]);
    let alice = lab.grpc_client("alice");
    look(&alice, alice.metadata()).unwrap();

    let bearer = format!("Bearer {}", alice.token);
    let token = ("authorization", bearer.as_str());
    let (kind, namespace, name) =
        (("jumpstarter-kind", "Client"), ("jumpstarter-namespace", "default"), ("jumpstarter-name", "alice"));
    let basic = ("authorization", "Basic YWxpY2U6cw==");
    let long = "x".repeat(4000);
    let cases: &[(&str, Pairs<'_>, Code)] = &[
        ("nothing at all", &[], Code::Unauthenticated),
        ("no token", &[kind, namespace, name], Code::Unauthenticated),
        ("two tokens", &[kind, namespace, name, token, token], Code::InvalidArgument),
        ("another scheme", &[kind, namespace, name, basic], Code::InvalidArgument),
        ("no kind", &[namespace, name, token], Code::InvalidArgument),
        ("two kinds", &[kind, kind, namespace, name, token], Code::InvalidArgument),
        ("unknown kind", &[("jumpstarter-kind", "Robot"), namespace, name, token], Code::InvalidArgument),
        ("kind in lower case", &[("jumpstarter-kind", "client"), namespace, name, token], Code::InvalidArgument),
        ("the other kind", &[("jumpstarter-kind", "Exporter"), namespace, name, token], Code::InvalidArgument),
        ("no namespace", &[kind, name, token], Code::InvalidArgument),
        ("two namespaces", &[kind, namespace, namespace, name, token], Code::InvalidArgument),
        ("no name", &[kind, namespace, token], Code::InvalidArgument),
        ("two names", &[kind, namespace, name, name, token], Code::InvalidArgument),
    ];
    for (case, pairs, code) in cases {
        refused(case, look(&alice, metadata(pairs)), *code);
    }
    for (case, pairs) in [
        ("a name of 4000 characters", [kind, namespace, ("jumpstarter-name", long.as_str()), token]),
        ("another client's name", [kind, namespace, ("jumpstarter-name", "observer"), token]),
        ("another namespace", [kind, ("jumpstarter-namespace", "elsewhere"), name, token]),
        ("a namespace that is no name", [kind, ("jumpstarter-namespace", "../etc"), name, token]),
    ] {
        let status = look(&alice, metadata(&pairs)).unwrap_err();
        let codes = [Code::PermissionDenied, Code::NotFound, Code::InvalidArgument, Code::Unauthenticated];
        assert!(codes.contains(&status.code()), "{case}: {status:?}");
    }
    still_serving(&alice);
}

#[test]
fn only_tokens_of_this_service_for_this_object_count() {
    let lab = Lab::start();
    let exporter = lab.exporter_config("dut", &[("a".to_owned(), "b".to_owned())]);
    let alice = lab.grpc_client("alice");
    let other_lab = Lab::start();
    let stranger = other_lab.grpc_client("alice");
    let dut = Grpc::from_exporter_config(&exporter);

    let [header, payload, signature] = alice.token.split('.').collect::<Vec<_>>()[..] else { panic!("no JWT") };
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let forged = URL_SAFE_NO_PAD.encode(claims.replace("alice", "carol"));
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let symmetric = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    for (case, token) in [
        ("no JWT", "secret".to_owned()),
        ("truncated", alice.token[..alice.token.len() - 10].to_owned()),
        ("without signature", format!("{header}.{payload}.")),
        ("other claims", format!("{header}.{forged}.{signature}")),
        ("algorithm none", format!("{unsigned}.{payload}.")),
        ("another algorithm", format!("{symmetric}.{payload}.{signature}")),
        ("of another lab", stranger.token.clone()),
    ] {
        let mut metadata = alice.metadata();
        metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let text = refused(case, look(&alice, metadata), Code::Unauthenticated);
        assert!(token.len() < 8 || !text.contains(&token), "{case}: the answer repeats the token");
    }

    // A good token of the other kind.
    let mut metadata = alice.metadata();
    metadata.insert("authorization", format!("Bearer {}", dut.token).parse().unwrap());
    let status = look(&alice, metadata).unwrap_err();
    assert!(
        [Code::PermissionDenied, Code::Unauthenticated, Code::InvalidArgument].contains(&status.code()),
        "{status:?}"
    );

    // Calls of the other kind.
    let listen = ListenRequest { lease_name: "any".to_owned(), ..ListenRequest::default() };
    refused("a client listens", alice.call(alice.controller().listen(alice.request(listen))), Code::InvalidArgument);
    let register = RegisterRequest::default();
    refused(
        "a client registers",
        alice.call(alice.controller().register(alice.request(register))),
        Code::InvalidArgument,
    );
    refused("an exporter looks around", look(&dut, dut.metadata()), Code::InvalidArgument);
    refused("an exporter dials", dut.dial("any"), Code::InvalidArgument);
    still_serving(&alice);
}

#[test]
fn a_deleted_client_is_refused() {
    let lab = Lab::start();
    let alice = lab.grpc_client("alice");
    still_serving(&alice);
    lab.admin(&["delete", "client", "alice", "--nointeractive"]).ok();
    let status = look(&alice, alice.metadata()).unwrap_err();
    assert!([Code::NotFound, Code::Unauthenticated, Code::PermissionDenied].contains(&status.code()), "{status:?}");
    // The same name later is somebody else: the old token stays worthless.
    let _ = lab.client_config("alice");
    let status = look(&alice, alice.metadata()).unwrap_err();
    assert!([Code::Unauthenticated, Code::PermissionDenied].contains(&status.code()), "{status:?}");
}

#[test]
fn an_old_token_is_refused_in_the_words_that_clients_look_for() {
    let lab = Lab::with_flags(&["--token-lifetime", "2s"]);
    let alice = lab.grpc_client("alice");
    let status = eventually("the token's end", MINUTE, || look(&alice, alice.metadata()).err().filter(is_old));
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

fn is_old(status: &tonic::Status) -> bool {
    status.message().contains("token is expired")
}
