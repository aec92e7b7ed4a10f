//! What is simulated: size, length, and which faults. All of it follows from the seed and the command line.

use std::time::Duration;

use crate::dice::Dice;

/// A simulation to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chance follows from it.
    pub seed: u64,
    /// Simulated time in which clients work; the lab then gets quiet and is looked through once more.
    pub length: Duration,
    /// Number of exporters.
    pub exporters: usize,
    /// Number of clients.
    pub clients: usize,
    /// What may go wrong.
    pub faults: Faults,
    /// A mistake built in on purpose, to see whether it is found.
    pub flaw: Flaw,
    /// Print every line of the log.
    pub trace: bool,
}

/// A mistake built in on purpose: tests of the checker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Flaw {
    /// None.
    #[default]
    None,
    /// Claims on exporters are written whatever the exporter has become since it was read.
    ReadThenWrite,
    /// Some writes of leases are acknowledged and forgotten.
    ForgottenWrites,
    /// The service sees the creation times of leases mirrored, so that the youngest looks like the eldest.
    YoungestFirst,
    /// What others than the service create is never told by a watch that goes on as if nothing had been.
    DeafWatch,
    /// The service's clock runs three times as fast.
    FastClock,
    /// Exporters tear their sessions down twice.
    TwofoldTearDown,
    /// Exporters begin the session of a lease before the last one is torn down.
    OverlappingSessions,
    /// Exporters say that they are available before their session is torn down.
    EarlyAvailable,
    /// Clients release leases that are not theirs by writing to the store.
    ForeignRelease,
    /// Holders of spot have to make way in a quarter of the time that there is to be.
    ShortGrace,
    /// Leases that are to wait in the stead of others are not created.
    LostSuccessor,
    /// The service takes every lease for one that holds its device as spot.
    SpotForAll,
    /// The service keeps no time free between two who have an exporter one after the other.
    NoTurnaround,
    /// The service does not see that leases belong together.
    LooseGroups,
    /// The service sees quotas that allow twice as many devices.
    LooseCaps,
    /// The service lets others overtake for ever.
    EndlessWait,
    /// The service quarantines as many exporters as fail.
    WideQuarantine,
    /// The service sees maintenance windows that are open for half of their time.
    ShortWindows,
}

/// Shares (of calls, or of opportunities) in which things go wrong. Zero is never.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn for itself")]
pub struct Faults {
    /// Writes of one transaction are made one after the other, as on Kubernetes.
    pub one_by_one: bool,
    /// The store answers that it is unavailable, and has done nothing.
    pub refused: f64,
    /// The store has done it, and the answer is lost.
    pub lost_answers: f64,
    /// The store says that an object has changed meanwhile, which it has not, or no longer shows.
    pub conflicts: f64,
    /// The store stops between the writes of a transaction.
    pub halves: f64,
    /// A call to the store is never answered; it may have been carried out.
    pub hangs: f64,
    /// Writes reach the store late, by up to so many milliseconds.
    pub store_delay: u64,
    /// Stalls of the whole store in an hour, of up to a minute each.
    pub stalls: u64,
    /// In an hour: watches end, or repeat what they told, or fall silent for a while.
    pub watch_cuts: u64,
    /// In an hour: watches tell old events again.
    pub replays: u64,
    /// Watches tell events late, by up to so many milliseconds.
    pub watch_lag: u64,
    /// In an hour: the service is killed, at some await or at a step of a write.
    pub crashes: u64,
    /// In an hour: the service is stopped in good order.
    pub restarts: u64,
    /// In an hour: a second leader is there for up to half a minute.
    pub rivals: u64,
    /// In an hour: the clock of the service jumps, by up to two minutes.
    pub jumps: u64,
    /// Messages of peers are late by up to so many milliseconds.
    pub delay: u64,
    /// Requests or answers of peers are lost together with their connection.
    pub loss: f64,
    /// Requests of peers arrive seconds late, after the peer has given up and tried again.
    pub late: f64,
    /// Requests of peers arrive twice, the second time up to seconds later.
    pub twice: f64,
    /// In an hour and for each exporter: its connections are cut, once or many times in a row.
    pub cuts: u64,
    /// In an hour and for each exporter: it cannot be reached for up to two minutes.
    pub partitions: u64,
    /// In an hour and for each exporter: its process is killed.
    pub exporter_crashes: u64,
    /// In an hour and for each exporter: it is stopped in good order.
    pub exporter_restarts: u64,
    /// Exporters that lie.
    pub liars: f64,
    /// Sessions that cannot be set up.
    pub failed_setups: f64,
    /// Exporters that tell their state late.
    pub slow_reporters: f64,
    /// Exporters of old releases, which do not say what they have heard of leases when they report.
    pub old_exporters: f64,
    /// In an hour and for each client: its process is killed.
    pub client_crashes: u64,
    /// In an hour: somebody edits objects by hand.
    pub edits: u64,
    /// Leases that are to begin later.
    pub scheduled: f64,
    /// Whether access policies with priorities are in force.
    pub policies: bool,
    /// Whether those give spot access, too; and how many seconds there are between the notice of a preemption and the
    /// end of the lease.
    pub spot: bool,
    /// See `spot`.
    pub grace: u64,
    /// Whether quotas are in force.
    pub quotas: bool,
    /// What clients ask for that is a group of leases.
    pub groups: f64,
    /// Seconds that are kept free between two reservations of an exporter.
    pub turnaround: u64,
    /// In an hour: somebody makes, changes or deletes a maintenance window.
    pub windows: u64,
    /// Most of the exporters that may be quarantined, in percent; 0: none is.
    pub quarantine: u32,
    /// Whether they are checked before they are given out again.
    pub checks: bool,
    /// Whether teams share the lab.
    pub shares: bool,
    /// Seconds after which nobody is overtaken any more; 0: never.
    pub longest_wait: u64,
}

impl Faults {
    /// A good day: nothing fails.
    pub fn none() -> Self {
        Self { delay: 5, store_delay: 5, ..Self::default() }
    }

    /// Each kind of fault with even chance, so that seeds differ in what goes wrong together.
    pub fn swarm(seed: u64) -> Self {
        let mut dice = Dice::named(seed, "faults");
        let mut share = |share: f64| if dice.chance(0.5) { share } else { 0.0 };
        let shares = [0.01, 0.01, 0.02, 0.002, 0.02, 0.005, 0.2, 0.1, 0.3, 0.15, 0.3].map(&mut share);
        let [refused, lost_answers, halves, hangs, loss, late, liars, failed_setups, slow_reporters, scheduled, old] =
            shares;
        let [conflicts, twice] = [0.02, 0.01].map(&mut share);
        let mut often = |times: u64| if dice.chance(0.5) { dice.number(1..=times) } else { 0 };
        Self {
            refused,
            lost_answers,
            conflicts,
            halves,
            hangs,
            loss,
            late,
            twice,
            liars,
            failed_setups,
            slow_reporters,
            old_exporters: old,
            scheduled,
            stalls: often(6),
            watch_cuts: often(30),
            replays: often(30),
            watch_lag: often(3000),
            crashes: often(20),
            restarts: often(10),
            rivals: often(10),
            jumps: often(6),
            delay: 1 + often(400),
            store_delay: 1 + often(200),
            cuts: often(20),
            partitions: often(6),
            exporter_crashes: often(10),
            exporter_restarts: often(6),
            client_crashes: often(10),
            edits: often(120),
            one_by_one: often(1) == 1,
            policies: often(1) == 1,
            spot: often(1) == 1,
            grace: often(60),
            quotas: often(1) == 1,
            groups: 0.0,
            turnaround: 0,
            windows: 0,
            quarantine: 0,
            checks: false,
            shares: false,
            longest_wait: 0,
        }
        .featured(seed)
    }

    /// The same with what came later, which is drawn for itself: so the faults of a seed stayed what they were.
    fn featured(self, seed: u64) -> Self {
        let mut dice = Dice::named(seed, "features");
        let groups = if dice.chance(0.5) { 0.25 } else { 0.0 };
        let turnaround = if dice.chance(0.5) { dice.number(1..=60) } else { 0 };
        let windows = if dice.chance(0.3) { dice.number(5..=60) } else { 0 };
        let quarantine = if dice.chance(0.5) { *dice.pick(&[20, 50]) } else { 0 };
        let checks = dice.chance(0.7);
        let shares = dice.chance(0.3);
        let longest_wait = if dice.chance(0.3) { dice.number(30..=240) } else { 0 };
        Self { groups, turnaround, windows, quarantine, checks, shares, longest_wait, ..self }
    }

    /// Without what came later than most faults.
    #[must_use]
    pub fn plain(self) -> Self {
        Self {
            spot: false,
            groups: 0.0,
            turnaround: 0,
            windows: 0,
            quarantine: 0,
            shares: false,
            longest_wait: 0,
            ..self
        }
    }
}

impl Plan {
    /// A lab of a few in which much goes wrong, for some minutes: cheap enough for thousands.
    pub fn small(seed: u64) -> Self {
        let mut dice = Dice::named(seed, "small plan");
        let exporters = usize::try_from(dice.number(2..=5)).unwrap_or(2);
        let clients = usize::try_from(dice.number(3..=8)).unwrap_or(3);
        Self { length: Duration::from_mins(12), exporters, clients, ..Self::swarm(seed) }
    }

    /// A lab of moderate size in which much goes wrong, for half an hour.
    pub fn swarm(seed: u64) -> Self {
        let mut dice = Dice::named(seed, "plan");
        let exporters = usize::try_from(dice.number(1..=8)).unwrap_or(1);
        let clients = usize::try_from(dice.number(1..=12)).unwrap_or(1);
        Self {
            seed,
            length: Duration::from_mins(30),
            exporters,
            clients,
            faults: Faults::swarm(seed),
            flaw: Flaw::None,
            trace: false,
        }
    }
}
