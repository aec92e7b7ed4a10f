//! What goes wrong with the service and its store, and when.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{
    clock::Offset,
    dice::Dice,
    lab::Lab,
    server::{Factory, Server},
    store::Trap,
};

/// Steps of writes among which a trap is set.
const STEPS: u64 = 60;
/// Turns after a step among which the service is killed.
const TURNS: u64 = 40;
/// Before a start that failed is tried again.
const START_AGAIN: Duration = Duration::from_millis(500);

type Slot = Arc<Mutex<Option<Server>>>;

/// Reads the service's metrics.
pub(crate) struct Probe(Slot);

impl Probe {
    /// A gauge of the process that serves, if one does.
    pub(crate) fn gauge(&self, name: &str) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.gauge(name)
    }
}

/// Starts and stops the service, and brings trouble.
pub(crate) struct Director {
    lab: Lab,
    factory: Factory,
    dice: Dice,
    /// The process that serves; of two, the newer.
    running: Slot,
    /// A leader that was replaced and does not know it yet.
    deposed: Option<Server>,
    clock: Offset,
}

impl Director {
    pub(crate) fn new(lab: Lab, factory: Factory) -> Self {
        let dice = Dice::named(lab.plan.seed, "director");
        Self { lab, factory, dice, running: Slot::default(), deposed: None, clock: Offset::default() }
    }

    fn take(&self) -> Option<Server> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, server: Server) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    fn count(&self) {
        let running = usize::from(self.running.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        self.lab.check().services(running + usize::from(self.deposed.is_some()));
    }

    async fn start(&self) -> Server {
        loop {
            if let Some(server) = self.factory.start(&self.clock).await {
                self.lab.note(format_args!("service {} runs", server.number));
                return server;
            }
            sleep(START_AGAIN).await;
        }
    }

    /// Starts the service, unless it runs.
    pub(crate) async fn open(&mut self) {
        if self.running.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            let server = self.start().await;
            self.put(server);
        }
        self.count();
    }

    /// Brings trouble until told otherwise; may be given up at any await.
    pub(crate) async fn direct(&mut self) {
        let faults = self.lab.plan.faults.clone();
        let rates = [
            faults.stalls,
            faults.watch_cuts,
            faults.replays,
            faults.crashes,
            faults.restarts,
            faults.rivals,
            faults.jumps,
        ];
        let sum: u64 = rates.iter().sum();
        if sum == 0 {
            return std::future::pending().await;
        }
        loop {
            let mean = Duration::from_hours(1) / u32::try_from(sum).unwrap_or(u32::MAX);
            sleep(self.dice.around(mean)).await;
            let mut draw = self.dice.number(0..=sum - 1);
            let mut kind = 0;
            while draw >= rates[kind] {
                draw -= rates[kind];
                kind += 1;
            }
            match kind {
                0 => self.stall(),
                1 => self.cut_watches(),
                2 => {
                    let events = self.dice.number(1..=200);
                    self.lab.fault(Duration::from_secs(5), format_args!("watches tell {events} events again"));
                    self.lab.store.replay(events);
                }
                3 => self.crash().await,
                4 => self.restart().await,
                5 => self.rival().await,
                _ => self.jump(),
            }
        }
    }

    fn stall(&mut self) {
        let span = self.dice.millis(500..=60_000);
        // Calls give up after 30 s, and what became of them is asked with growing pauses of up to 8 s.
        self.lab.fault(span + Duration::from_secs(45), format_args!("the store stalls for {span:?}"));
        self.lab.store.stall(Instant::now() + span);
    }

    fn cut_watches(&mut self) {
        match self.dice.number(0..=2) {
            0 => {
                let span = self.dice.millis(1_000..=60_000);
                self.lab.fault(span + Duration::from_secs(5), format_args!("watches fall silent for {span:?}"));
                self.lab.store.silence(Instant::now() + span);
            }
            kind => {
                self.lab.fault(Duration::from_secs(15), format_args!("watches are cut, gone: {}", kind == 1));
                self.lab.store.cut_watches(kind == 1);
            }
        }
    }

    /// Kills the service: at some time, or at some step of some write.
    async fn crash(&mut self) {
        let way = self.dice.number(0..=2);
        if way == 0 {
            sleep(self.dice.millis(0..=2_000)).await;
            self.lab.fault(Duration::from_secs(90), format_args!("the service is killed"));
            if let Some(server) = self.take() {
                server.kill();
            }
        } else {
            let (sprung, springs) = oneshot::channel();
            let (running, lab) = (Arc::clone(&self.running), self.lab.clone());
            // At the step itself, or some turns of all that is awake later: between any two steps of any task.
            let turns = if way == 1 { 0 } else { self.dice.number(1..=TURNS) };
            let spring = move |step: crate::store::Step| {
                if turns > 0 {
                    _ = sprung.send(turns);
                    return;
                }
                lab.fault(Duration::from_secs(90), format_args!("the service is killed: {step:?}"));
                if let Some(server) = running.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    server.kill();
                }
                _ = sprung.send(0);
            };
            let after = self.dice.number(0..=STEPS);
            self.lab.store.set_trap(Some(Trap { after, spring: Box::new(spring) }));
            match timeout(Duration::from_mins(2), springs).await {
                Err(_) => self.lab.store.set_trap(None),
                Ok(turns) => self.kill_after(turns.unwrap_or(0)).await,
            }
        }
        self.count();
        sleep(self.dice.millis(0..=20_000)).await;
        self.open().await;
    }

    /// Kills the service when whatever is awake has had so many turns.
    async fn kill_after(&mut self, turns: u64) {
        for _ in 0..turns {
            yield_now().await;
        }
        if turns > 0
            && let Some(server) = self.take()
        {
            self.lab.fault(Duration::from_secs(90), format_args!("the service is killed {turns} turns after a write"));
            server.kill();
        }
    }

    async fn restart(&mut self) {
        self.lab.fault(Duration::from_mins(1), format_args!("the service is restarted"));
        if let Some(server) = self.take() {
            server.stop().await;
        }
        self.count();
        sleep(self.dice.millis(0..=5_000)).await;
        self.open().await;
    }

    /// A second leader beside the one that there is, for a while.
    async fn rival(&mut self) {
        self.lab.fault(Duration::from_mins(2), format_args!("a second leader"));
        let rival = self.start().await;
        self.deposed = self.take();
        self.put(rival);
        self.count();
        sleep(self.dice.millis(500..=30_000)).await;
        let gentle = self.dice.chance(0.5);
        if let Some(old) = self.deposed.take() {
            self.lab.fault(Duration::from_mins(1), format_args!("the first leader goes, gently: {gentle}"));
            if gentle {
                old.stop().await;
            } else {
                old.kill();
            }
        }
        self.count();
    }

    fn jump(&mut self) {
        let millis = i64::try_from(self.dice.number(0..=240_000)).unwrap_or(0) - 120_000;
        self.lab.fault(Duration::from_secs(70), format_args!("the clock is {millis} ms ahead now"));
        self.clock.set(millis);
        self.lab.check().clock_set(millis);
    }

    /// Ends all trouble: one process serves.
    pub(crate) async fn close(&mut self) {
        self.lab.store.set_trap(None);
        if let Some(old) = self.deposed.take() {
            old.kill();
        }
        self.open().await;
    }

    /// What looks at the metrics of whichever process serves.
    pub(crate) fn probe(&self) -> Probe {
        Probe(Arc::clone(&self.running))
    }

    /// Stops the service for good.
    pub(crate) async fn shut_down(&mut self) {
        if let Some(server) = self.take() {
            server.stop().await;
        }
        self.count();
    }
}
