//! Somebody who mends devices: announces maintenance, thinks better of it, and calls it off.

use std::time::Duration;

use jumpstarter_store::{Key, Kind, Object, Write};

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
