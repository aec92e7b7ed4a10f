//! Groups of leases: clients that ask for several devices at once, and people who write such leases by hand.

use std::time::Duration;

use jumpstarter_model::{Lease, LeaseGroup, LeaseSpec, LocalObjectReference, Selector};
use jumpstarter_store::{Object, Write};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::{Instant, sleep};

use super::{
    Backoff,
    client::{BETWEEN_LOOKS, Seen, Work, seen},
    link::{GroupWish, Wish, go_duration},
    sessions::refused,
};
use crate::{dice::Dice, lab::Lab, server::NAMESPACE};

/// What leases of groups ask for.
const SELECTORS: [&str; 5] = ["pool=a", "pool=b", "board=b0", "board=b1", "pool"];

/// Most leases of a group: no more than some labs have devices for.
fn most(lab: &Lab) -> u64 {
    (lab.plan.exporters as u64).clamp(2, 4)
}

/// Labels that devices are to have in common.
fn same(dice: &mut Dice) -> Vec<String> {
    let keys: &[&str] = dice.pick::<&[&str]>(&[&[], &[], &["board"], &["pool"], &["board", "pool"]]);
    keys.iter().map(|key| (*key).to_owned()).collect()
}

impl Work {
    fn group_wish(&mut self) -> GroupWish {
        let (lab, dice) = (&self.lab, &mut self.group_dice);
        let id = format!("{}-g{}", self.name, self.count);
        let size = dice.number(2..=most(lab));
        let scheduled = dice.chance(lab.plan.faults.scheduled / 2.0);
        let begin = scheduled.then(|| lab.time.now() + dice.millis(1_000..=200_000));
        let leases = (0..size).map(|number| {
            let exporter = dice.number(0..=lab.plan.exporters as u64 - 1);
            // A device that two of them name is refused at once.
            let pinned = (number == 0 && dice.chance(0.2)).then(|| format!("e{exporter}"));
            let selector = if pinned.is_some() { String::new() } else { (*dice.pick(&SELECTORS)).to_owned() };
            let duration = Duration::from_secs(dice.number(20..=400));
            let requeue = lab.plan.faults.spot && dice.chance(0.3);
            Wish { id: format!("{id}-{number}"), selector, pinned, duration, begin, requeue }
        });
        let leases = leases.collect();
        GroupWish { id, leases, same: same(dice) }
    }

    /// Asks for several devices, uses them, and gives them back.
    pub(super) async fn group_cycle(&mut self) {
        let wish = self.group_wish();
        if self.create_group(&wish).await
            && let Some(exporters) = self.wait_for_all(&wish).await
        {
            for (lease, exporter) in wish.leases.iter().zip(exporters) {
                let until = Instant::now() + self.group_dice.around(lease.duration / 4);
                self.work(&lease.id, &exporter, until).await;
            }
            match self.group_dice.number(0..=3) {
                0 => self.watch_ends(&wish).await,
                1 => {
                    for lease in &wish.leases {
                        self.give_back(&lease.id).await;
                    }
                }
                _ => self.give_group_back(&wish).await,
            }
        }
        for lease in &wish.leases {
            self.lab.check().lets_go(&self.name, &lease.id);
        }
    }

    async fn watch_ends(&mut self, wish: &GroupWish) {
        for lease in &wish.leases {
            self.watch_end(lease).await;
        }
    }

    /// Asks until the service has said yes or no.
    async fn create_group(&mut self, wish: &GroupWish) -> bool {
        let mut backoff = Backoff::default();
        loop {
            for lease in &wish.leases {
                self.lab.check().create_sent(&self.name, lease);
            }
            match self.link.create_group(wish).await {
                Ok(()) => {
                    for lease in &wish.leases {
                        self.lab.check().create_acknowledged(lease);
                    }
                    return true;
                }
                Err(status) if refused(&status) => {
                    self.lab.note(format_args!("{}: group {} not created: {}", self.name, wish.id, status.message()));
                    if wish.leases.iter().any(|lease| self.lab.is_live(&lease.id)) {
                        self.give_group_back(wish).await;
                    }
                    return false;
                }
                Err(_) => sleep(backoff.next(&mut self.dice)).await,
            }
        }
    }

    /// Looks until all leases can be used; gives all of them back when one has ended, or patience is over.
    async fn wait_for_all(&mut self, wish: &GroupWish) -> Option<Vec<String>> {
        let patience = self.group_dice.around(Duration::from_mins(4));
        let started = Instant::now();
        let mut held = Vec::new();
        while let Some(lease) = wish.leases.get(held.len()) {
            if let Ok(found) = self.link.look(&lease.id).await {
                let what = seen(&found);
                self.lab.check().looked(&self.name, &lease.id, &what);
                match what {
                    Seen::Ready(exporter) => {
                        held.push(exporter);
                        continue;
                    }
                    Seen::Ended => {
                        self.give_group_back(wish).await;
                        return None;
                    }
                    Seen::Waits | Seen::Prepares(_) => {}
                }
            }
            if started.elapsed() > patience || self.lab.is_closing() {
                self.give_group_back(wish).await;
                return None;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Some(held)
    }

    /// Gives all leases of a group back, until the service has them.
    async fn give_group_back(&mut self, wish: &GroupWish) {
        let mut backoff = Backoff::default();
        for lease in &wish.leases {
            self.lab.check().lets_go(&self.name, &lease.id);
            self.lab.check().release_asked(&lease.id, &self.name);
        }
        loop {
            match self.link.release_group(&wish.id).await {
                Ok(()) => {
                    for lease in &wish.leases {
                        self.lab.check().release_acknowledged(&lease.id, &self.name);
                    }
                    return;
                }
                Err(status) if refused(&status) && !wish.leases.iter().any(|lease| self.lab.is_live(&lease.id)) => {
                    return;
                }
                Err(_) => sleep(backoff.next(&mut self.dice)).await,
            }
        }
    }
}

/// Somebody writes the leases of groups one after the other, and sometimes not all of them.
pub(crate) async fn by_hand(lab: Lab) {
    if lab.plan.faults.groups == 0.0 || lab.plan.faults.edits == 0 {
        return;
    }
    let mut dice = Dice::named(lab.plan.seed, "groups by hand");
    let mut count = 0;
    while !lab.closing_comes_first(dice.around(Duration::from_mins(4))).await {
        count += 1;
        let (name, size) = (format!("hand-g{count}"), dice.number(2..=most(&lab)));
        let client = format!("c{}", dice.number(0..=lab.plan.clients as u64 - 1));
        let written = if dice.chance(0.2) { size - 1 } else { size };
        let says = usize::try_from(size).ok().and_then(|size| LeaseGroup::new(&name, size, same(&mut dice)).ok());
        let Some(says) = says else { continue };
        lab.note(format_args!("by hand: {written} of {size} leases of {name}, with the same {:?}", says.same));
        for number in 0..written {
            let selector = Selector::parse(dice.pick::<&str>(&SELECTORS)).unwrap_or_default();
            let spec = LeaseSpec {
                client_ref: LocalObjectReference::new(client.clone()),
                selector: selector.to_label_selector(),
                duration: Some(go_duration(Duration::from_secs(dice.number(10..=120)))),
                ..LeaseSpec::default()
            };
            let mut metadata = ObjectMeta {
                name: Some(format!("{name}-{number}")),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            };
            says.write(&mut metadata);
            _ = lab.store.commit(&[Write::Create(Object::from_resource(&Lease { metadata, spec, status: None }))]);
            if lab.closing_comes_first(dice.around(Duration::from_secs(5))).await {
                return;
            }
        }
    }
}
