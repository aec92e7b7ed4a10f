//! The keys of tokens: made once, changed while the service runs, and what becomes of credentials meanwhile.

use base64::Engine as _;
use jiff::SignedDuration;
use jumpstarter_auth::{KeyRing, KeyUse, SigningKey, TokenIssuer};
use jumpstarter_controller::keys::{self, KeysError};
use jumpstarter_model::{Client, ClientSpec, Exporter, condition::set_condition};
use jumpstarter_protocol::client::v1::ListExportersRequest;
use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Key, Kind, Object, Store, StoreError, Write};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::support::{
    FakeClient, Lab, eventually,
    lab::{NAMESPACE, now},
    soon,
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn call(client: &FakeClient, token: &str) -> Result<(), Status> {
    let mut identity = client.identity.clone();
    token.clone_into(&mut identity.token);
    let request = ListExportersRequest { parent: format!("namespaces/{NAMESPACE}"), ..ListExportersRequest::default() };
    soon("ListExporters", client.stub.clone().list_exporters(identity.request(request))).await.map(drop)
}

/// The token of a client as stored.
async fn stored(lab: &Lab, name: &str) -> String {
    lab.client_identity(name).await.token
}

fn role(lab: &Lab, token: &str) -> Option<KeyUse> {
    lab.issuer.verify(token, now()).ok().map(|claims| claims.key.role.clone())
}

async fn put_token(lab: &Lab, secret: &str, token: &str) {
    lab.edit::<Secret>(secret, |secret| {
        secret.data = Some([("token".to_owned(), ByteString(token.as_bytes().to_vec()))].into());
    })
    .await;
}

fn store() -> (EmbeddedStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).unwrap(), dir)
}

/// The key that the Go service derives from `CONTROLLER_KEY=somerandomkey` (kubernetes.md §6.2).
fn key_of_the_go_service() -> SigningKey {
    let d = "86efef273ea25d933e15b66f9a709aff87f7d8ddc93ebc9d7daf3d95ba3c3ac4";
    let d: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&d[at..at + 2], 16).unwrap()).collect();
    let prime256v1 = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let der = [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20], &d[..], &prime256v1[..]].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n");
    SigningKey::from_pem(pem.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_start_at_once_get_the_same_keys() {
    let (store, _dir) = store();
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        starting
            .spawn(async move { keys::load_or_create(&store, NAMESPACE, || KeyRing::generate(now())).await.unwrap() });
    }
    let ids: Vec<_> = starting.join_all().await.iter().map(KeyRing::signing_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let later = keys::load_or_create(&store, NAMESPACE, || panic!("there are keys")).await.unwrap();
    assert_eq!(later.signing_id(), ids[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_are_all_made() {
    let (store, _dir) = store();
    let missing = keys::edit(&store, NAMESPACE, |ring| ring.rotate(now(), HOUR)).await.unwrap_err();
    assert!(matches!(missing, KeysError::Missing(_)), "{missing}");
    keys::load_or_create(&store, NAMESPACE, || KeyRing::generate(now())).await.unwrap();
    let mut changes = JoinSet::new();
    for index in 0..6 {
        let store = store.clone();
        let key = SigningKey::generate().unwrap().verifying_key().clone();
        changes.spawn(async move {
            let name = format!("key-{index}");
            keys::edit(&store, NAMESPACE, |ring| ring.trust(&name, vec![key.clone()], now() + HOUR, now()))
                .await
                .unwrap();
        });
    }
    changes.join_all().await;
    let ring = keys::load_or_create(&store, NAMESPACE, || panic!("there are keys")).await.unwrap();
    assert_eq!(ring.trusted().len(), 6);
    let refused = keys::edit(&store, NAMESPACE, |ring| ring.untrust("other")).await.unwrap_err().to_string();
    assert!(refused.contains("Secret lab/jumpstarter-controller-keys") && refused.contains("`other`"), "{refused}");
}

#[tokio::test]
async fn damaged_keys_are_named_and_left_alone() {
    let (store, _dir) = store();
    for data in [
        None,
        Some([("other".to_owned(), ByteString(b"x".to_vec()))].into()),
        Some(
            [(keys::FIELD.to_owned(), ByteString(b"{\"version\":1,\"signing\":{\"privateKey\":\"SECRET\"".to_vec()))]
                .into(),
        ),
    ] {
        let metadata = ObjectMeta {
            name: Some(keys::SECRET_NAME.into()),
            namespace: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        };
        let damaged = Object::from_resource(&Secret { metadata, data, ..Secret::default() });
        store.transact(vec![Write::Create(damaged)]).await.unwrap();
        let before = store.get(&keys::secret_key(NAMESPACE)).await.unwrap();
        let load = keys::load_or_create(&store, NAMESPACE, || panic!("nothing is made over damaged keys"));
        for error in [
            load.await.unwrap_err().to_string(),
            keys::edit(&store, NAMESPACE, |ring| ring.rotate(now(), HOUR)).await.unwrap_err().to_string(),
        ] {
            assert!(error.contains("Secret lab/jumpstarter-controller-keys"), "{error}");
            assert!(error.contains("not usable") && !error.contains("SECRET"), "{error}");
        }
        assert_eq!(store.get(&keys::secret_key(NAMESPACE)).await.unwrap(), before);
        store.transact(vec![Write::Delete(keys::secret_key(NAMESPACE), None)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_rotation_replaces_tokens_and_takes_those_of_before_until_the_overlap_ends() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let first = alice.identity.token.clone();
    call(&alice, &first).await.unwrap();

    keys::edit(&lab.store, NAMESPACE, |ring| ring.rotate(now(), HOUR)).await.unwrap();
    let second = eventually("a token of the new key", async || {
        let token = stored(&lab, "alice").await;
        (role(&lab, &token) == Some(KeyUse::Signing) && token != first).then_some(token)
    })
    .await;
    call(&alice, &second).await.unwrap();
    call(&alice, &first).await.unwrap();
    assert_eq!(role(&lab, &first), Some(KeyUse::Retired));

    // Without an overlap the tokens of before end at once, remembered or not, and say so in the words of re-login.
    keys::edit(&lab.store, NAMESPACE, |ring| ring.rotate(now(), SignedDuration::ZERO)).await.unwrap();
    let third = eventually("another token", async || {
        let token = stored(&lab, "alice").await;
        (role(&lab, &token) == Some(KeyUse::Signing) && token != second).then_some(token)
    })
    .await;
    let refused = call(&alice, &second).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("token is expired"), "{refused}");
    call(&alice, &third).await.unwrap();
    call(&alice, &first).await.unwrap();
}

#[tokio::test]
async fn a_config_of_the_go_service_goes_on_working_until_it_is_no_longer_trusted() {
    let lab = Lab::start().await;
    let theirs = key_of_the_go_service();
    let trusted = theirs.verifying_key().clone();
    let go = TokenIssuer::new(theirs);
    let alice = lab.client("alice").await;
    let subject = lab.issuer.verify(&alice.identity.token, now()).unwrap().sub;
    let saved = go.issue(&subject, now()).unwrap().token.into_exposed();
    assert_eq!(call(&alice, &saved).await.unwrap_err().code(), Code::Unauthenticated);

    keys::edit(&lab.store, NAMESPACE, |ring| ring.trust("go-service", vec![trusted.clone()], now() + HOUR, now()))
        .await
        .unwrap();
    eventually("the saved token is taken", async || call(&alice, &saved).await.ok()).await;
    let forged = go.issue("client:lab:alice:another", now()).unwrap().token.into_exposed();
    assert_eq!(call(&alice, &forged).await.unwrap_err().code(), Code::PermissionDenied);

    // The Secret as the Go service left it: its token, and nobody's.
    lab.edit::<Secret>("alice-client", |secret| {
        secret.metadata.owner_references = None;
        secret.data = Some([("token".to_owned(), ByteString(saved.as_bytes().to_vec()))].into());
    })
    .await;
    eventually("the Secret has an owner and a token of ours", async || {
        let secret: Secret = lab.get("alice-client").await.unwrap();
        let owner = secret.metadata.owner_references?.into_iter().next()?;
        let ours = role(&lab, &stored(&lab, "alice").await) == Some(KeyUse::Signing);
        (ours && owner.kind == "Client" && owner.name == "alice" && owner.controller == Some(true)).then_some(())
    })
    .await;
    call(&alice, &saved).await.unwrap();

    keys::edit(&lab.store, NAMESPACE, |ring| ring.untrust("go-service")).await.unwrap();
    eventually("the saved token is refused", async || call(&alice, &saved).await.err()).await;
    call(&alice, &stored(&lab, "alice").await).await.unwrap();
}

#[tokio::test]
async fn a_token_that_was_copied_from_another_object_is_replaced() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let bob = lab.client("bob").await;
    put_token(&lab, "bob-client", &alice.identity.token).await;
    let again = eventually("bob has a token of his own", async || {
        let token = stored(&lab, "bob").await;
        (token != alice.identity.token).then_some(token)
    })
    .await;
    call(&bob, &again).await.unwrap();
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let lab = Lab::start().await;
    let owner = OwnerReference {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: "vault".into(),
        uid: "u".into(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some("carol-client".into()),
        namespace: Some(NAMESPACE.into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    lab.write(Write::Create(Object::from_resource(&Secret { metadata, ..Secret::default() }))).await;
    let before: Secret = lab.get("carol-client").await.unwrap();
    let mut carol = Client { metadata: ObjectMeta::default(), spec: ClientSpec::default(), status: None };
    carol.metadata.name = Some("carol".into());
    carol.metadata.namespace = Some(NAMESPACE.into());
    lab.write(Write::Create(Object::from_resource(&carol))).await;
    // Somebody who comes later is served, so carol was looked at before.
    lab.client("dave").await;
    assert_eq!(lab.get::<Secret>("carol-client").await.unwrap(), before);
    assert_eq!(lab.get::<Client>("carol").await.unwrap().status, None);
    // Once the name is free the token is made.
    lab.delete(Kind::Secret, "carol-client").await;
    eventually("carol's token", async || lab.get::<Client>("carol").await?.status?.credential).await;
}

#[tokio::test]
async fn keys_that_are_deleted_or_spoilt_while_the_service_runs_stay_in_use() {
    let lab = Lab::start().await;
    let alice = lab.client("alice").await;
    let key = keys::secret_key(NAMESPACE);
    let before = keys::decode(&lab.store.get(&key).await.unwrap().unwrap()).unwrap();
    lab.delete(Kind::Secret, keys::SECRET_NAME).await;
    let back = eventually("the keys are stored again", async || lab.store.get(&key).await.unwrap()).await;
    assert_eq!(keys::decode(&back).unwrap().to_json(), before.to_json());

    lab.edit::<Secret>(keys::SECRET_NAME, |secret| {
        secret.data = Some([(keys::FIELD.to_owned(), ByteString(b"spoilt".to_vec()))].into());
    })
    .await;
    let bob = lab.client("bob").await;
    call(&alice, &alice.identity.token).await.unwrap();
    call(&bob, &bob.identity.token).await.unwrap();
    assert!(keys::decode(&lab.store.get(&key).await.unwrap().unwrap()).is_err(), "left as it is");
    // Repaired by hand.
    let repaired = |existing: &Object| keys::encode(&before, NAMESPACE, Some(existing)).unwrap();
    let existing = lab.store.get(&key).await.unwrap().unwrap();
    lab.write(Write::Update(repaired(&existing))).await;
    lab.client("carol").await;
    call(&alice, &alice.identity.token).await.unwrap();
}

#[tokio::test]
async fn an_exporter_that_reports_makes_no_work_for_credentials() {
    let lab = Lab::start().await;
    lab.exporter("dut", &[]).await;
    lab.await_exporter("dut", "has credentials", |exporter| {
        exporter.status.as_ref().is_some_and(|status| status.credential.is_some())
    })
    .await;
    let secret: Secret = lab.get("dut-exporter").await.unwrap();
    for round in 0..20 {
        eventually("a heartbeat", async || {
            let mut exporter: Exporter = lab.get("dut").await.unwrap();
            let status = exporter.status.get_or_insert_default();
            let message = format!("heartbeat {round}");
            set_condition(&mut status.conditions, "Heartbeat", true, "Seen", &message, None, now());
            let write = Write::UpdateStatus(Object::from_resource(&exporter));
            match lab.store.transact(vec![write]).await {
                Ok(_) => Some(()),
                Err(StoreError::Conflict { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
    }
    let last: Exporter = lab.get("dut").await.unwrap();
    // Whoever comes later is served after what came before was looked at.
    lab.client("alice").await;
    let key = Key::new(Kind::Exporter, NAMESPACE, "dut");
    let exporter = lab.store.get(&key).await.unwrap().unwrap();
    assert_eq!(Some(exporter.resource_version().to_string()), last.metadata.resource_version);
    assert_eq!(lab.get::<Secret>("dut-exporter").await.unwrap(), secret);
}
