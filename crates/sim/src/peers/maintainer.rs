//! Somebody who mends devices: announces maintenance, thinks better of it, and calls it off; keeps devices back, has them
//! checked, and gives them free.

use std::time::Duration;

use jiff::SignedDuration;
use jumpstarter_model::lease_time::whole_second;
use jumpstarter_scheduler::transition::{CHECK, LIFT_QUARANTINE, QUARANTINE};
use jumpstarter_store::{Key, Kind, Object, Write};

use serde_json::{Value, json};

use crate::{dice::Dice, lab::Lab, server::NAMESPACE, windows};

/// Most windows at once.
const MOST: usize = 3;

/// Works until the lab closes, and leaves the windows that there are then.
pub(crate) async fn live(lab: Lab) {
    let rate = lab.plan.faults.windows;
    if rate == 0 {
        return;
    }
    let mut dice = Dice::named(lab.plan.seed, "maintainer");
    let (mut names, mut count) = (Vec::<String>::new(), 0);
    let pause = Duration::from_hours(1) / u32::try_from(rate).unwrap_or(1);
    while !lab.closing_comes_first(dice.around(pause)).await {
        if names.len() == MOST || !names.is_empty() && dice.chance(0.3) {
            let name = dice.pick(&names).clone();
            if dice.chance(0.5) {
                lab.note(format_args!("by hand: window {name} changes"));
                let drawn = windows::draw(&mut dice, &name, lab.time.now(), lab.plan.exporters);
                let stored = lab.store.read(&Key::new(Kind::MaintenanceWindow, NAMESPACE, &name));
                let Some(stored) = stored else { continue };
                let mut value = stored.value().clone();
                value["spec"] = Object::from_resource(&drawn).value()["spec"].clone();
                if let Ok(object) = Object::from_value(value) {
                    _ = lab.store.commit(&[Write::Update(object)]);
                }
            } else {
                names.retain(|known| *known != name);
                lab.note(format_args!("by hand: window {name} is called off"));
                _ = lab.store.commit(&[Write::Delete(Key::new(Kind::MaintenanceWindow, NAMESPACE, &name), None)]);
            }
            continue;
        }
        count += 1;
        let name = format!("w{count}");
        let mut window = windows::draw(&mut dice, &name, lab.time.now(), lab.plan.exporters);
        window.metadata.namespace = Some(NAMESPACE.to_owned());
        _ = lab.store.commit(&[Write::Create(Object::from_resource(&window))]);
        names.push(name);
    }
}

/// Quarantines, checks and lifts by hand until the lab closes; then nothing is kept back by hand.
pub(crate) async fn operate(lab: Lab) {
    if lab.plan.faults.quarantine == 0 || lab.plan.faults.edits == 0 {
        return;
    }
    let mut dice = Dice::named(lab.plan.seed, "operator");
    let mut count = 0;
    while !lab.closing_comes_first(dice.around(Duration::from_mins(3))).await {
        count += 1;
        let exporter = format!("e{}", dice.number(0..=lab.plan.exporters as u64 - 1));
        match dice.number(0..=3) {
            0 => {
                let span = SignedDuration::from_secs(i64::try_from(dice.number(10..=200)).unwrap_or(10));
                let until = whole_second(lab.time.now() + span).to_string();
                note(&lab, &exporter, QUARANTINE, Some(&until));
            }
            1 => note(&lab, &exporter, CHECK, Some(&format!("check-{count}"))),
            2 => {
                note(&lab, &exporter, QUARANTINE, Some("true"));
                lab.closing_comes_first(dice.millis(1_000..=120_000)).await;
                note(&lab, &exporter, QUARANTINE, None);
            }
            _ => {
                note(&lab, &exporter, QUARANTINE, None);
                note(&lab, &exporter, LIFT_QUARANTINE, Some(&format!("lift-{count}")));
            }
        }
    }
    for number in 0..lab.plan.exporters {
        note(&lab, &format!("e{number}"), QUARANTINE, None);
    }
}

/// Writes an annotation of an exporter, or takes it away.
fn note(lab: &Lab, exporter: &str, key: &str, text: Option<&str>) {
    let Some(stored) = lab.store.read(&Key::new(Kind::Exporter, NAMESPACE, exporter)) else { return };
    let mut value = stored.value().clone();
    let notes = value.pointer("/metadata/annotations").and_then(Value::as_object);
    if text.is_none() && notes.is_none_or(|notes| !notes.contains_key(key)) {
        return;
    }
    lab.note(format_args!("by hand: {exporter} {key}: {text:?}"));
    match text {
        Some(text) => value["metadata"]["annotations"][key] = json!(text),
        None => {
            if let Some(notes) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
                notes.remove(key);
            }
        }
    }
    if let Ok(object) = Object::from_value(value) {
        _ = lab.store.commit(&[Write::Update(object)]);
    }
}
