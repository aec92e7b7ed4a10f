//! What is decided about Secrets.

use jiff::SignedDuration;
use jumpstarter_auth::{KeyRing, SigningKey, TokenIssuer};
use jumpstarter_model::{
    Client, ClientSpec, Exporter, ExporterSpec, Timestamp,
    condition::set_condition,
    identity::{MIGRATED_NAMESPACE, MIGRATED_UID},
};
use jumpstarter_store::{Object, ResourceVersion};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::{
    judge::{DAY, Holder, Verdict, fingerprint, judge, next_change, token_life},
    owner::Owner,
};

const UID: &str = "6f2c2f5e-5a4f-4f6c-9c5e-1d1c7a2f3b4a";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

fn alice() -> Client {
    let metadata = ObjectMeta {
        name: Some("alice".into()),
        namespace: Some("lab".into()),
        uid: Some(UID.into()),
        ..ObjectMeta::default()
    };
    Client { metadata, spec: ClientSpec::default(), status: None }
}

fn owner_of(client: &Client) -> Owner {
    Owner::of(&Object::from_resource(client)).unwrap().unwrap()
}

fn secret(owners: Vec<OwnerReference>, token: &str) -> Secret {
    let data = [("token".to_owned(), ByteString(token.as_bytes().to_vec()))];
    let metadata = ObjectMeta { owner_references: Some(owners), ..ObjectMeta::default() };
    Secret { metadata, data: Some(data.into()), ..Secret::default() }
}

fn token(issuer: &TokenIssuer, subject: &str) -> String {
    issuer.issue(subject, now()).unwrap().token.into_exposed()
}

#[test]
fn a_secret_is_kept_renewed_replaced_or_left_alone() {
    let client = alice();
    let owner = owner_of(&client);
    let holder: Holder<'_> = owner.holder();
    let subject = format!("client:lab:alice:{UID}");
    let life = SignedDuration::from_hours(1);
    let theirs = SigningKey::generate().unwrap();
    let old = TokenIssuer::with_ring(KeyRing::generate(now()).unwrap()).with_lifetime(life);
    let mut ring = old.ring();
    ring.rotate(now(), life).unwrap();
    ring.trust("go", vec![theirs.verifying_key().clone()], later(3600), now()).unwrap();
    let issuer = TokenIssuer::with_ring(ring).with_lifetime(life);
    let stranger = TokenIssuer::new(SigningKey::generate().unwrap());

    let ours = || vec![holder.reference()];
    let earlier = || vec![OwnerReference { uid: "another".into(), ..holder.reference() }];
    let pool = OwnerReference { kind: "ExporterSet".into(), name: "pool".into(), ..holder.reference() };
    let garden = OwnerReference { controller: None, ..pool.clone() };
    let good = token(&issuer, &subject);
    let expires = later(3600);
    let rows = [
        ("none", None, Verdict::Issue),
        ("good", Some(secret(ours(), &good)), Verdict::Keep { expires }),
        ("without owner", Some(secret(Vec::new(), &good)), Verdict::Adopt { expires }),
        ("of the object before", Some(secret(earlier(), &good)), Verdict::Adopt { expires }),
        ("with a mere owner", Some(secret(vec![garden], &good)), Verdict::Adopt { expires }),
        ("somebody else's", Some(secret(vec![pool], &good)), Verdict::Taken { by: "ExporterSet pool".into() }),
        ("an older key's", Some(secret(ours(), &token(&old, &subject))), Verdict::Renew { expires }),
        (
            "a trusted key's",
            Some(secret(Vec::new(), &token(&TokenIssuer::new(theirs).with_lifetime(life), &subject))),
            Verdict::Renew { expires },
        ),
        ("a stranger's", Some(secret(ours(), &token(&stranger, &subject))), Verdict::Issue),
        ("copied from bob", Some(secret(ours(), &token(&issuer, "client:lab:bob:u"))), Verdict::Issue),
        ("an exporter's", Some(secret(ours(), &token(&issuer, &format!("exporter:lab:alice:{UID}")))), Verdict::Issue),
        ("of an earlier alice", Some(secret(ours(), &token(&issuer, "client:lab:alice:u"))), Verdict::Issue),
        ("no token", Some(secret(ours(), "garbage")), Verdict::Issue),
        ("no data", Some(Secret { data: None, ..secret(ours(), "") }), Verdict::Issue),
    ];
    for (what, found, expected) in rows {
        assert_eq!(judge(found.as_ref(), &holder, &issuer, now()), expected, "{what}");
    }
    let ended = judge(Some(&secret(ours(), &good)), &holder, &issuer, expires);
    assert_eq!(ended, Verdict::Issue, "at its end");
}

#[test]
fn a_moved_object_keeps_the_subject_that_it_had() {
    let mut client = alice();
    let annotations = [(MIGRATED_NAMESPACE.to_owned(), "old".to_owned()), (MIGRATED_UID.to_owned(), "u".to_owned())];
    client.metadata.annotations = Some(annotations.into());
    let owner = owner_of(&client);
    let issuer = TokenIssuer::new(SigningKey::generate().unwrap());
    let moved = secret(Vec::new(), &token(&issuer, "client:old:alice:u"));
    assert!(matches!(judge(Some(&moved), &owner.holder(), &issuer, now()), Verdict::Adopt { .. }));
    let unmoved = secret(Vec::new(), &token(&issuer, &format!("client:lab:alice:{UID}")));
    assert_eq!(judge(Some(&unmoved), &owner.holder(), &issuer, now()), Verdict::Issue);
}

#[test]
fn the_condition_follows_the_days_left() {
    for (left, expiring, reason) in [
        (0, true, "Expired"),
        (1, true, "ExpiresWithin7Days"),
        (7 * DAY, true, "ExpiresWithin7Days"),
        (7 * DAY + 1, true, "ExpiresWithin30Days"),
        (30 * DAY, true, "ExpiresWithin30Days"),
        (30 * DAY + 1, false, "Valid"),
    ] {
        let (found, found_reason, _) = token_life(later(left), now());
        assert_eq!((found, found_reason), (expiring, reason), "{left} s left");
    }
}

proptest::proptest! {
    #[test]
    fn a_credential_is_looked_at_again_when_its_condition_changes(left in -2 * DAY..60 * DAY) {
        let expires = later(left);
        let next = next_change(expires, now());
        proptest::prop_assert!(next > now());
        if left > 0 {
            proptest::prop_assert!(next <= expires);
            proptest::prop_assert_ne!(token_life(expires, next), token_life(expires, now()));
            let before = Timestamp::from_second(next.as_second() - 1).unwrap();
            proptest::prop_assert_eq!(token_life(expires, before), token_life(expires, now()));
        }
    }
}

#[test]
fn what_others_write_does_not_make_us_look() {
    let mut exporter = Exporter::new("dut", ExporterSpec::default());
    exporter.metadata = ObjectMeta { name: Some("dut".into()), ..alice().metadata };
    let secret = |version: &str| {
        let metadata =
            ObjectMeta { resource_version: Some(version.into()), name: Some("s".into()), ..ObjectMeta::default() };
        Object::from_resource(&Secret { metadata, ..Secret::default() })
    };
    let marks = |exporter: &Exporter| fingerprint(&Object::from_resource(exporter), Some(&secret("5")), "here:1", 1);
    let before = marks(&exporter);

    let mut busy = exporter.clone();
    busy.metadata.resource_version = Some(ResourceVersion(7).to_string());
    busy.metadata.generation = Some(9);
    busy.metadata.labels = Some([("board".to_owned(), "x".to_owned())].into());
    let status = busy.status.get_or_insert_default();
    set_condition(&mut status.conditions, "Online", true, "Seen", "", Some(1), now());
    status.status_message = Some("busy".to_owned());
    assert_eq!(marks(&busy), before);

    let object = Object::from_resource(&exporter);
    assert_ne!(fingerprint(&object, Some(&secret("6")), "here:1", 1), before, "the Secret changed");
    assert_ne!(fingerprint(&object, None, "here:1", 1), before, "the Secret is gone");
    assert_ne!(fingerprint(&object, Some(&secret("5")), "there:1", 1), before, "the address changed");
    assert_ne!(fingerprint(&object, Some(&secret("5")), "here:1", 2), before, "the keys changed");
    let mut moved = exporter.clone();
    moved.metadata.annotations = Some([(MIGRATED_UID.to_owned(), "u".to_owned())].into());
    assert_ne!(marks(&moved), before, "the subject changed");
    let mut cleared = exporter;
    cleared.status.get_or_insert_default().endpoint = Some("elsewhere:1".to_owned());
    assert_ne!(marks(&cleared), before, "the status names another address");
}
