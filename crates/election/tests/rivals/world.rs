//! The simulated world: one object, a network, and candidates with clocks of their own. Time goes in steps of 10 ms.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use jumpstarter_election::{
    Candidate, Leadership, Machine, Moment, Record, Sighting, Source, Step, Timing, WriteFailure,
};
use proptest::test_runner::TestCaseError;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const TICK: u64 = 10;
/// When a run begins.
const START: u64 = 1_000_000;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) candidates: usize,
    pub(crate) trouble: Trouble,
    pub(crate) deletions: u32,
}

/// How bad the world is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// Calls in a hundred that never arrive.
    pub(crate) lost: u32,
    /// Calls in a hundred that take up to 20 s, each way.
    pub(crate) slow: u32,
    /// Watch events in a hundred that are not delivered.
    pub(crate) deaf: u32,
    /// Crashes a minute, each followed by a new process.
    pub(crate) crashes: u32,
    /// Clean stops a minute, each followed by a new process.
    pub(crate) leaves: u32,
}

/// The object's history is its version.
#[derive(Default)]
struct Object {
    record: Option<Record>,
    version: u64,
}

struct Call {
    sent: Moment,
    /// When the candidate stops to wait, by its own clock.
    give_up: Moment,
    step: Step,
    arrives: Option<u64>,
    answers: u64,
    outcome: Option<Outcome>,
}

enum Outcome {
    Read(Option<Sighting>),
    Wrote(Result<Sighting, WriteFailure>),
}

struct Process {
    machine: Machine,
    /// World time at which its clock showed zero.
    born: u64,
    skew: SignedDuration,
    call: Option<Call>,
    events: VecDeque<(u64, Option<Sighting>)>,
    leaving: bool,
}

pub(crate) struct World {
    now: u64,
    random: StdRng,
    trouble: Trouble,
    deletions: u32,
    object: Object,
    /// Writes on their way whose sender no longer waits.
    stray: Vec<(u64, Step)>,
    processes: Vec<Process>,
    names: u32,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let Plan { seed, candidates, trouble, deletions } = plan;
        let mut world = Self {
            now: START,
            random: StdRng::seed_from_u64(seed),
            trouble,
            deletions,
            object: Object::default(),
            stray: Vec::new(),
            processes: Vec::new(),
            names: 0,
        };
        for _ in 0..candidates {
            let process = world.spawn();
            world.processes.push(process);
        }
        world
    }

    fn spawn(&mut self) -> Process {
        self.names += 1;
        let identity = format!("candidate-{}", self.names);
        let address = format!("10.0.0.{}:8082", self.names);
        Process {
            machine: Machine::new(Candidate { identity, address }, Timing::default()),
            born: self.now - self.random.random_range(0..100_000),
            skew: SignedDuration::from_secs(self.random.random_range(-40_000..40_000)),
            call: None,
            events: VecDeque::new(),
            leaving: false,
        }
    }

    /// Ends all trouble; what is on its way still arrives.
    pub(crate) fn calm(&mut self) {
        self.trouble = Trouble::default();
        self.deletions = 0;
    }

    pub(crate) fn kill(&mut self, index: usize) {
        let fresh = self.spawn();
        let dead = std::mem::replace(&mut self.processes[index], fresh);
        self.abandon(dead.call);
    }

    pub(crate) fn dismiss(&mut self, index: usize) {
        let now = self.processes[index].clock(self.now);
        self.processes[index].machine.resign(now, None);
        self.processes[index].leaving = true;
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.processes.len()).find(|index| self.leads(*index))
    }

    fn leads(&self, index: usize) -> bool {
        let process = &self.processes[index];
        matches!(process.machine.leadership(process.clock(self.now)), Leadership::Leading { .. })
    }

    /// Lets time pass, and looks at every instant whether two lead.
    pub(crate) fn run(&mut self, milliseconds: u64) -> Result<(), TestCaseError> {
        let end = self.now + milliseconds;
        while self.now < end {
            self.now += TICK;
            self.misfortune();
            self.arrivals();
            for index in 0..self.processes.len() {
                self.turn(index);
            }
            let leaders: Vec<usize> = (0..self.processes.len()).filter(|index| self.leads(*index)).collect();
            if leaders.len() > 1 {
                return Err(TestCaseError::fail(format!("{leaders:?} lead at {} ms", self.now)));
            }
        }
        Ok(())
    }

    /// Whether something that happens `rate` times a minute happens in this tick.
    fn strikes(&mut self, rate: u32) -> bool {
        rate > 0 && self.random.random_range(0..60_000 / TICK) < u64::from(rate)
    }

    fn misfortune(&mut self) {
        if self.strikes(self.trouble.crashes) {
            let index = self.random.random_range(0..self.processes.len());
            self.kill(index);
        }
        if self.strikes(self.trouble.leaves) {
            let index = self.random.random_range(0..self.processes.len());
            self.dismiss(index);
        }
        // Those who start can know of nothing before.
        if self.now > START + 2_000 && self.strikes(self.deletions) && self.object.record.take().is_some() {
            self.object.version += 1;
            self.announce(None);
        }
    }

    /// Lets what has arrived take effect.
    fn arrivals(&mut self) {
        let now = self.now;
        let (due, stray) = std::mem::take(&mut self.stray).into_iter().partition(|(at, _)| *at <= now);
        self.stray = stray;
        let due: Vec<(u64, Step)> = due;
        for (_, step) in due {
            self.apply(&step);
        }
        for index in 0..self.processes.len() {
            let Some(call) = &mut self.processes[index].call else { continue };
            if call.outcome.is_none() && call.arrives.is_some_and(|at| at <= now) {
                let step = call.step.clone();
                let outcome = self.apply(&step);
                if let Some(call) = &mut self.processes[index].call {
                    call.outcome = Some(outcome);
                }
            }
        }
    }

    fn apply(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Read => {
                let version = self.object.version.to_string();
                Outcome::Read(self.object.record.clone().map(|record| Sighting { record, version }))
            }
            Step::Create(record) if self.object.record.is_none() => Outcome::Wrote(Ok(self.write(record.clone()))),
            Step::Replace { version, record }
                if self.object.record.is_some() && *version == self.object.version.to_string() =>
            {
                Outcome::Wrote(Ok(self.write(record.clone())))
            }
            Step::Create(_) | Step::Replace { .. } => Outcome::Wrote(Err(WriteFailure::Conflict)),
            Step::Wait(_) | Step::Done => unreachable!("these are no calls"),
        }
    }

    fn write(&mut self, record: Record) -> Sighting {
        // Other objects share the counter.
        self.object.version += 1 + self.random.random_range(0..5_u64);
        self.object.record = Some(record.clone());
        let sighting = Sighting { record, version: self.object.version.to_string() };
        self.announce(Some(&sighting));
        sighting
    }

    fn announce(&mut self, sighting: Option<&Sighting>) {
        for index in 0..self.processes.len() {
            if self.random.random_range(0..100) < self.trouble.deaf {
                continue;
            }
            let limit = if self.trouble.deaf > 0 { 6_000 } else { 30 };
            let at = self.now + self.random.random_range(0..=limit);
            let events = &mut self.processes[index].events;
            // In order, whatever the delay.
            let at = events.back().map_or(at, |(last, _)| at.max(*last));
            events.push_back((at, sighting.cloned()));
        }
    }

    /// One turn of a candidate's shell.
    fn turn(&mut self, index: usize) {
        let world_now = self.now;
        let process = &mut self.processes[index];
        let now = process.clock(world_now);
        while process.events.front().is_some_and(|(at, _)| *at <= world_now) {
            if let Some((_, sighting)) = process.events.pop_front() {
                process.machine.observed(now, Source::Watch, sighting);
            }
        }
        let answered = process.call.as_ref().is_some_and(|call| call.outcome.is_some() && call.answers <= world_now);
        let given_up = process.call.as_ref().is_some_and(|call| call.give_up <= now);
        if (answered || given_up)
            && let Some(mut call) = process.call.take()
        {
            let outcome = call.outcome.take().filter(|_| answered);
            match (&call.step, outcome) {
                (_, Some(Outcome::Read(sighting))) => {
                    process.machine.observed(now, Source::Read, sighting);
                }
                (_, Some(Outcome::Wrote(outcome))) => {
                    process.machine.wrote(call.sent, now, outcome);
                }
                (Step::Read, None) => process.machine.read_failed(now),
                (_, None) => {
                    process.machine.wrote(call.sent, now, Err(WriteFailure::Unknown));
                }
            }
            if given_up && !answered {
                self.abandon(Some(call));
            }
        }
        self.ask(index);
    }

    fn ask(&mut self, index: usize) {
        let process = &mut self.processes[index];
        if process.call.is_some() {
            return;
        }
        let now = process.clock(self.now);
        let wall = Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(self.now).unwrap()).unwrap();
        match process.machine.step(now, wall + process.skew) {
            Step::Wait(_) => {}
            Step::Done => {
                let fresh = self.spawn();
                self.processes[index] = fresh;
            }
            step @ (Step::Read | Step::Create(_) | Step::Replace { .. }) => {
                let call = self.send(step, now);
                self.processes[index].call = Some(call);
            }
        }
    }

    fn send(&mut self, step: Step, now: Moment) -> Call {
        let way = |random: &mut StdRng| {
            if random.random_range(0..100) < self.trouble.slow {
                random.random_range(0..20_000)
            } else {
                random.random_range(1..40)
            }
        };
        let (there, back) = (way(&mut self.random), way(&mut self.random));
        let lost = self.random.random_range(0..100) < self.trouble.lost;
        let arrives = Some(self.now + there).filter(|_| !lost);
        let give_up = now + Timing::default().call();
        Call { sent: now, give_up, step, arrives, answers: self.now + there + back, outcome: None }
    }

    /// The sender no longer waits; the call goes on.
    fn abandon(&mut self, call: Option<Call>) {
        let Some(Call { step, arrives: Some(at), outcome: None, .. }) = call else { return };
        self.stray.push((at, step));
    }
}

impl Process {
    fn clock(&self, world_now: u64) -> Moment {
        Duration::from_millis(world_now - self.born)
    }
}
