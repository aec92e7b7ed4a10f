//! Any sequence of writes has the outcome that a few lines of plain code predict.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::collections::BTreeMap;

use jumpstarter_store::{
    EmbeddedOptions, EmbeddedStore, Event, Key, Kind, ListOptions, Object, Precondition, ResourceVersion, Store,
    StoreError, Write,
};
use proptest::prelude::*;
use serde_json::json;

/// What the model knows of an exporter: what was asked, what was seen, and which versions it has had.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    spec: u8,
    status: Option<u8>,
    label: u8,
    generation: i64,
    version: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Create { name: u8, spec: u8, status: Option<u8>, label: u8 },
    Update { name: u8, spec: u8, label: u8, expect: Expect },
    Status { name: u8, status: u8, expect: Expect },
    Replace { name: u8, spec: u8, status: u8, label: u8, expect: Expect },
    Delete { name: u8, expect: Expect },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    Anything,
    Current,
    Stale,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    NotFound,
    Exists,
    Conflict,
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..4_u8;
    let small = 0..3_u8;
    let expect = prop_oneof![Just(Expect::Anything), Just(Expect::Current), Just(Expect::Stale)];
    prop_oneof![
        (name.clone(), small.clone(), proptest::option::of(small.clone()), small.clone())
            .prop_map(|(name, spec, status, label)| Op::Create { name, spec, status, label }),
        (name.clone(), small.clone(), small.clone(), expect.clone())
            .prop_map(|(name, spec, label, expect)| Op::Update { name, spec, label, expect }),
        (name.clone(), small.clone(), expect.clone()).prop_map(|(name, status, expect)| Op::Status {
            name,
            status,
            expect
        }),
        (name.clone(), small.clone(), small.clone(), small, expect.clone())
            .prop_map(|(name, spec, status, label, expect)| Op::Replace { name, spec, status, label, expect }),
        (name, expect).prop_map(|(name, expect)| Op::Delete { name, expect }),
    ]
}

type Model = BTreeMap<u8, Known>;

/// The model's step. `version` is the store's last one and grows with every change.
fn step(model: &mut Model, version: &mut u64, op: &Op) -> Outcome {
    let (name, expect) = match *op {
        Op::Create { name, spec, status, label } => {
            if model.contains_key(&name) {
                return Outcome::Exists;
            }
            *version += 1;
            model.insert(name, Known { spec, status, label, generation: 1, version: *version });
            return Outcome::Done;
        }
        Op::Update { name, expect, .. }
        | Op::Status { name, expect, .. }
        | Op::Replace { name, expect, .. }
        | Op::Delete { name, expect } => (name, expect),
    };
    let Some(known) = model.get_mut(&name) else { return Outcome::NotFound };
    if expect == Expect::Stale {
        return Outcome::Conflict;
    }
    let before = known.clone();
    match *op {
        Op::Create { .. } => {}
        Op::Update { spec, label, .. } => (known.spec, known.label) = (spec, label),
        Op::Status { status, .. } => known.status = Some(status),
        Op::Replace { spec, status, label, .. } => {
            (known.spec, known.status, known.label) = (spec, Some(status), label);
        }
        Op::Delete { .. } => {
            *version += 1;
            model.remove(&name);
            return Outcome::Done;
        }
    }
    if *known != before {
        known.generation += i64::from(known.spec != before.spec);
        *version += 1;
        known.version = *version;
    }
    Outcome::Done
}

fn write(model: &Model, op: &Op) -> Write {
    let version = |name: u8, expect: Expect| match (expect, model.get(&name)) {
        (Expect::Anything, _) | (Expect::Current, None) => None,
        (Expect::Current, Some(known)) => Some(known.version),
        // No object is as old as this one.
        (Expect::Stale, _) => Some(999_999),
    };
    let object = |name: u8, spec: u8, status: Option<u8>, label: u8, version: Option<u64>| {
        let mut value = json!({
            "apiVersion": Kind::Exporter.api_version(), "kind": "Exporter",
            "metadata": { "name": format!("e{name}"), "namespace": "lab" },
            "spec": { "username": spec.to_string() },
        });
        if label > 0 {
            value["metadata"]["labels"] = json!({ "l": label.to_string() });
        }
        if let Some(status) = status {
            value["status"] = json!({ "endpoint": status.to_string() });
        }
        if let Some(version) = version {
            value["metadata"]["resourceVersion"] = json!(version.to_string());
        }
        Object::from_value(value).unwrap()
    };
    match *op {
        Op::Create { name, spec, status, label } => Write::Create(object(name, spec, status, label, None)),
        Op::Update { name, spec, label, expect } => {
            Write::Update(object(name, spec, Some(77), label, version(name, expect)))
        }
        Op::Status { name, status, expect } => {
            Write::UpdateStatus(object(name, 77, Some(status), 77, version(name, expect)))
        }
        Op::Replace { name, spec, status, label, expect } => {
            Write::Replace(object(name, spec, Some(status), label, version(name, expect)))
        }
        Op::Delete { name, expect } => {
            let resource_version = version(name, expect).map(ResourceVersion);
            let key = Key::new(Kind::Exporter, "lab", format!("e{name}"));
            Write::Delete(key, Some(Precondition { uid: None, resource_version }))
        }
    }
}

fn known(object: &Object) -> (u8, Known) {
    let value = object.value();
    let number = |text: &serde_json::Value| text.as_str().map(|text| text.parse::<u8>().unwrap());
    let name = object.name()[1..].parse().unwrap();
    let known = Known {
        spec: number(&value["spec"]["username"]).unwrap(),
        status: number(&value["status"]["endpoint"]),
        label: object.label("l").map_or(0, |label| label.parse().unwrap()),
        generation: object.generation(),
        version: object.resource_version().0,
    };
    (name, known)
}

/// Plays each group of operations as one transaction, then compares everything, and what a watch tells with it.
async fn play(groups: Vec<Vec<Op>>) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).unwrap();
    let (mut model, mut version) = (Model::new(), 0);
    for group in groups {
        let (mut next, mut next_version) = (model.clone(), version);
        let mut writes = Vec::new();
        let mut expected = Outcome::Done;
        for op in &group {
            writes.push(write(&next, op));
            expected = step(&mut next, &mut next_version, op);
            if expected != Outcome::Done {
                break;
            }
        }
        let outcome = match store.transact(writes).await {
            Ok(_) => Outcome::Done,
            Err(StoreError::NotFound(_)) => Outcome::NotFound,
            Err(StoreError::AlreadyExists(_)) => Outcome::Exists,
            Err(StoreError::Conflict { .. }) => Outcome::Conflict,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(outcome, expected, "{group:?}");
        if outcome == Outcome::Done {
            (model, version) = (next, next_version);
        }
    }
    let list = store.list(Kind::Exporter, "lab", ListOptions::default()).await.unwrap();
    assert_eq!(list.resource_version.0, version);
    assert_eq!(list.items.iter().map(known).collect::<Model>(), model);
    assert_eq!(told(&store, version).await, model);
}

/// The state that all events since the beginning add up to.
async fn told(store: &EmbeddedStore, version: u64) -> Model {
    use futures::StreamExt;
    let mut watch = store.watch(&[Kind::Exporter], ResourceVersion::ZERO).await.unwrap();
    let mut state = Model::new();
    for at in 1..=version {
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!(event.resource_version().0, at);
        let (name, known) = known(event.object());
        match event {
            Event::Added(_) => assert_eq!(state.insert(name, known), None),
            Event::Modified(_) => assert!(state.insert(name, known).is_some()),
            Event::Deleted(_) => assert!(state.remove(&name).is_some()),
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(
        groups in proptest::collection::vec(proptest::collection::vec(op(), 1..4), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(groups));
    }
}
