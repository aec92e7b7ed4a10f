//! Somebody with `kubectl`: edits objects beside the service.

use std::{collections::BTreeMap, time::Duration};

use jumpstarter_model::{Exporter, Lease, LeaseSpec, LocalObjectReference, Selector};
use jumpstarter_scheduler::transition::REQUEUE;
use jumpstarter_store::{Key, Kind, Object, Write};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::link::go_duration;
use crate::{dice::Dice, lab::Lab, plan::Flaw, server::NAMESPACE};

/// Marks what was edited by hand.
const BY_HAND: &str = "sim/by-hand";

/// Edits until the lab closes.
pub(crate) async fn live(lab: Lab) {
    let mut dice = Dice::named(lab.plan.seed, "administrator");
    let rate = match lab.plan.flaw {
        Flaw::DeafWatch | Flaw::ForeignRelease => 600,
        // Only leases that are made as objects can ask for another one in their stead.
        _ if lab.plan.faults.spot => lab.plan.faults.edits.max(240),
        _ => lab.plan.faults.edits,
    };
    let only_creates = lab.plan.flaw == Flaw::None && lab.plan.faults.edits == 0;
    if rate == 0 {
        return;
    }
    let mut count = 0;
    while !lab.is_closing() {
        let pause = dice.around(Duration::from_hours(1) / u32::try_from(rate).unwrap_or(1));
        if lab.closing_comes_first(pause).await {
            return;
        }
        count += 1;
        let exporter = format!("e{}", dice.number(0..=lab.plan.exporters as u64 - 1));
        match dice.number(0..=9) {
            _ if only_creates => create(&lab, &mut dice, count),
            0..=2 => annotate(&lab, Kind::Exporter, &exporter, count),
            3..=4 => {
                if let Some(lease) = some_lease(&lab, &mut dice) {
                    annotate(&lab, Kind::Lease, &lease, count);
                }
            }
            5 => {
                let (lab, span) = (lab.clone(), dice.millis(1_000..=120_000));
                enable(&lab, &exporter, false);
                sleep(span).await;
                enable(&lab, &exporter, true);
            }
            6 => {
                if let Some(lease) = some_lease(&lab, &mut dice) {
                    release(&lab, &lease);
                }
            }
            7 if dice.chance(0.3) => {
                if let Some(lease) = some_lease(&lab, &mut dice) {
                    lab.note(format_args!("by hand: {lease} deleted"));
                    lab.check().deleted_by_hand(&lease);
                    _ = lab.store.commit(&[Write::Delete(Key::new(Kind::Lease, NAMESPACE, &lease), None)]);
                }
            }
            _ => create(&lab, &mut dice, count),
        }
    }
}

/// Without holding on to the checker, which looks at every commit.
fn some_lease(lab: &Lab, dice: &mut Dice) -> Option<String> {
    lab.check().some_lease(dice)
}

fn edit(lab: &Lab, key: &Key, change: impl FnOnce(&mut Value)) {
    let Some(object) = lab.store.read(key) else { return };
    let mut value = object.value().clone();
    change(&mut value);
    if let Ok(object) = Object::from_value(value) {
        _ = lab.store.commit(&[Write::Update(object)]);
    }
}

fn annotate(lab: &Lab, kind: Kind, name: &str, count: u64) {
    edit(lab, &Key::new(kind, NAMESPACE, name), |value| {
        value["metadata"]["annotations"]["sim/note"] = json!(count.to_string());
    });
}

fn enable(lab: &Lab, exporter: &str, enabled: bool) {
    lab.note(format_args!("by hand: {exporter} enabled={enabled}"));
    let key = Key::new(Kind::Exporter, NAMESPACE, exporter);
    if let Some(Ok(mut exporter)) = lab.store.read(&key).map(|object| object.decode::<Exporter>()) {
        exporter.spec.enabled = Some(enabled);
        _ = lab.store.commit(&[Write::Update(Object::from_resource(&exporter))]);
    }
}

fn release(lab: &Lab, lease: &str) {
    lab.note(format_args!("by hand: {lease} released"));
    if lab.plan.flaw != Flaw::ForeignRelease {
        lab.check().release_asked(lease, "by hand");
    }
    edit(lab, &Key::new(Kind::Lease, NAMESPACE, lease), |value| value["spec"]["release"] = json!(true));
}

fn create(lab: &Lab, dice: &mut Dice, count: u64) {
    let name = format!("by-hand-{count}");
    let spot = lab.plan.faults.spot;
    lab.note(format_args!("by hand: {name} created"));
    let client = format!("c{}", dice.number(0..=lab.plan.clients as u64 - 1));
    let selector = Selector::parse(dice.pick::<&str>(&["pool=a", "pool=b", "board=b0"])).unwrap_or_default();
    let spec = LeaseSpec {
        client_ref: LocalObjectReference::new(client),
        selector: selector.to_label_selector(),
        duration: Some(go_duration(Duration::from_secs(dice.number(10..=if spot { 900 } else { 120 })))),
        ..LeaseSpec::default()
    };
    let mut notes = BTreeMap::from([(BY_HAND.to_owned(), "yes".to_owned())]);
    if spot && dice.chance(0.7) {
        notes.insert(REQUEUE.to_owned(), "true".to_owned());
    }
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(NAMESPACE.to_owned()),
        annotations: Some(notes),
        ..ObjectMeta::default()
    };
    _ = lab.store.commit(&[Write::Create(Object::from_resource(&Lease { metadata, spec, status: None }))]);
}
