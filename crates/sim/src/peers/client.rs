//! Clients: they ask for devices, wait, use them, and give them back, or forget to.

use std::time::Duration;

use jumpstarter_protocol::client::v1::Lease;
use tokio::time::{Instant, sleep};

use super::{
    Backoff,
    link::{Link, Wish},
    sessions::refused,
};
use crate::{dice::Dice, lab::Lab, router::Served};

/// Between two looks at a lease, as existing clients look.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// What a look at a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Waits,
    Prepares(String),
    Ready(String),
    Ended,
}

/// Reads the answer to a look.
pub(crate) fn seen(lease: &Lease) -> Seen {
    let is = |wanted: &str| lease.conditions.iter().any(|found| found.r#type() == wanted && found.status() == "True");
    if lease.effective_end_time.is_some() {
        return Seen::Ended;
    }
    let exporter = lease.exporter.as_deref().and_then(|name| name.rsplit('/').next()).filter(|name| !name.is_empty());
    match exporter {
        Some(exporter) if is("Ready") => Seen::Ready(exporter.to_owned()),
        Some(exporter) => Seen::Prepares(exporter.to_owned()),
        None => Seen::Waits,
    }
}

/// The life of one client, until the lab closes.
pub(crate) async fn live(lab: Lab, name: String) {
    let mut dice = Dice::named(lab.plan.seed, &format!("client {name}"));
    let token = lab.token(&format!("{name}-client")).await;
    let mut work = Work {
        link: Link::new(lab.network.wire(&name), "Client", &name, &token),
        dice: Dice::named(lab.plan.seed, &format!("work {name}")),
        group_dice: Dice::named(lab.plan.seed, &format!("groups {name}")),
        lab: lab.clone(),
        name: name.clone(),
        count: 0,
    };
    while !lab.is_closing() {
        let crash = async {
            match lab.plan.faults.client_crashes {
                0 => std::future::pending().await,
                rate => sleep(dice.around(Duration::from_hours(1) / u32::try_from(rate).unwrap_or(1))).await,
            }
        };
        tokio::select! {
            biased;
            () = crash => {}
            () = work.run() => continue,
        }
        lab.note(format_args!("client {name} killed"));
        lab.check().client_gone(&name);
        lab.network.cut(&name);
        sleep(dice.millis(0..=60_000)).await;
        if dice.chance(0.5) {
            work.tidy().await;
        }
    }
    work.tidy().await;
}

/// One process of a client.
pub(super) struct Work {
    pub(super) lab: Lab,
    pub(super) name: String,
    pub(super) link: Link,
    pub(super) dice: Dice,
    /// What comes of groups is drawn for itself.
    pub(super) group_dice: Dice,
    pub(super) count: u64,
}

impl Work {
    /// One lease after the other.
    async fn run(&mut self) {
        while !self.lab.is_closing() {
            let pause = self.dice.around(Duration::from_secs(20));
            sleep(pause.min(Duration::from_mins(5))).await;
            if self.lab.is_closing() {
                return;
            }
            self.count += 1;
            if self.group_dice.chance(self.lab.plan.faults.groups) {
                self.group_cycle().await;
                continue;
            }
            let wish = self.wish();
            self.cycle(wish).await;
        }
    }

    fn wish(&mut self) -> Wish {
        let id = format!("{}-{}", self.name, self.count);
        let selectors = ["pool=a", "pool=b", "board=b0", "board=b1", "pool=a,board=b1", "pool"];
        let exporters = self.lab.plan.exporters as u64;
        let pinned = self.dice.chance(0.2).then(|| format!("e{}", self.dice.number(0..=exporters - 1)));
        let selector = if pinned.is_some() { String::new() } else { (*self.dice.pick(&selectors)).to_owned() };
        let duration = Duration::from_secs(self.dice.number(10..=600));
        let scheduled = self.dice.chance(self.lab.plan.faults.scheduled);
        let begin = scheduled.then(|| self.lab.time.now() + self.dice.millis(1_000..=300_000));
        let requeue = self.lab.plan.faults.spot && self.dice.chance(0.5);
        Wish { id, selector, pinned, duration, begin, requeue }
    }

    async fn cycle(&mut self, wish: Wish) {
        let Some(lease) = self.create(&wish).await else { return };
        let patience = self.dice.around(Duration::from_mins(4));
        let Some(exporter) = self.wait(&wish, lease, patience).await else { return };
        let until = Instant::now() + self.dice.around(wish.duration / 2);
        let runs_out = self.dice.chance(0.2);
        if self.dice.chance(0.1) {
            self.lengthen(&wish).await;
        }
        self.work(&wish.id, &exporter, until).await;
        if runs_out {
            self.watch_end(&wish).await;
        } else {
            self.give_back(&wish.id).await;
        }
        self.lab.check().lets_go(&self.name, &wish.id);
    }

    /// Asks until the service has said yes or no.
    async fn create(&mut self, wish: &Wish) -> Option<Lease> {
        let mut backoff = Backoff::default();
        loop {
            self.lab.check().create_sent(&self.name, wish);
            match self.link.create(wish).await {
                Ok(lease) => {
                    self.lab.check().create_acknowledged(wish);
                    return Some(lease);
                }
                Err(status) if refused(&status) => {
                    self.lab.note(format_args!("{}: {} not created: {}", self.name, wish.id, status.message()));
                    self.lab.check().create_refused(&self.name, wish, &status);
                    return None;
                }
                Err(_) => sleep(backoff.next(&mut self.dice)).await,
            }
        }
    }

    /// Looks until the lease can be used; gives it back when patience is over.
    async fn wait(&mut self, wish: &Wish, first: Lease, patience: Duration) -> Option<String> {
        let started = Instant::now();
        let mut lease = Some(first);
        loop {
            if let Some(lease) = &lease {
                let what = seen(lease);
                self.lab.check().looked(&self.name, &wish.id, &what);
                match what {
                    Seen::Ready(exporter) => return Some(exporter),
                    Seen::Ended => return None,
                    Seen::Waits | Seen::Prepares(_) => {}
                }
            }
            if started.elapsed() > patience || self.lab.is_closing() {
                self.give_back(&wish.id).await;
                return None;
            }
            sleep(BETWEEN_LOOKS).await;
            lease = self.link.look(&wish.id).await.ok();
        }
    }

    async fn lengthen(&mut self, wish: &Wish) {
        let to = wish.duration + self.dice.millis(10_000..=300_000);
        let to = Duration::from_secs(to.as_secs());
        self.lab.check().lengthen_sent(&wish.id, to);
        if self.link.lengthen(&wish.id, to).await.is_ok() {
            self.lab.check().lengthen_acknowledged(&wish.id, to);
        }
    }

    /// Uses the device: dials, works through the tunnel, dials again.
    pub(super) async fn work(&mut self, lease: &str, exporter: &str, until: Instant) {
        while Instant::now() < until && !self.lab.is_closing() {
            match self.dial(lease).await {
                Ok(Some(served)) => {
                    self.lab.check().reached(&self.name, lease, exporter, &served);
                    let span = self.dice.around(Duration::from_secs(30));
                    _ = tokio::time::timeout(span, served.closed.cancelled()).await;
                }
                Err(status) if refused(&status) => {
                    sleep(Duration::from_secs(2)).await;
                    let Ok(found) = self.link.look(lease).await else { continue };
                    let what = seen(&found);
                    self.lab.check().looked(&self.name, lease, &what);
                    if what == Seen::Ended {
                        return;
                    }
                }
                // The other half did not come, the ticket was no good, or nobody answered.
                Ok(None) | Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    async fn dial(&mut self, lease: &str) -> Result<Option<Served>, tonic::Status> {
        let ticket = self.link.dial(lease).await?.router_token;
        Ok(self.lab.router.dial(&ticket, self.lab.time.now()).await)
    }

    /// Lets the lease run out.
    pub(super) async fn watch_end(&mut self, wish: &Wish) {
        loop {
            sleep(BETWEEN_LOOKS).await;
            match self.link.look(&wish.id).await {
                Ok(lease) => {
                    let what = seen(&lease);
                    self.lab.check().looked(&self.name, &wish.id, &what);
                    if what == Seen::Ended {
                        return;
                    }
                }
                Err(status) if status.code() == tonic::Code::NotFound => return,
                Err(_) => {}
            }
        }
    }

    /// Gives a lease back, until the service has it.
    pub(super) async fn give_back(&mut self, lease: &str) {
        let mut backoff = Backoff::default();
        self.lab.check().lets_go(&self.name, lease);
        self.lab.check().release_asked(lease, &self.name);
        loop {
            match self.link.release(lease).await {
                Ok(()) => return self.lab.check().release_acknowledged(lease, &self.name),
                Err(status) if status.code() == tonic::Code::FailedPrecondition => {
                    return self.lab.check().release_acknowledged(lease, &self.name);
                }
                Err(status) if refused(&status) && !self.lab.is_live(lease) => return,
                Err(_) => sleep(backoff.next(&mut self.dice)).await,
            }
        }
    }

    /// Gives back what an earlier process has left.
    async fn tidy(&mut self) {
        let mut backoff = Backoff::default();
        let left = loop {
            match self.link.list(&format!("/{}", self.name)).await {
                Ok(left) => break left,
                Err(_) => sleep(backoff.next(&mut self.dice)).await,
            }
        };
        for lease in left {
            self.give_back(&lease).await;
        }
    }
}
