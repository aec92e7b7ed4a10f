//! What one event costs in labs of growing size, where what it concerns stays the same.

use std::time::Instant;

use jumpstarter_model::{Exporter, Lease, Timestamp};
use jumpstarter_scheduler::Change;

use crate::{
    growth::{self, Growth},
    kit::Kit,
    objects::{client, connected, exporter, lease, policy},
};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Boards of a kind, those of them that leases hold, and leases of a kind that wait and that have ended.
const BOARDS: usize = 50;
const RUNNING: usize = 10;
const WAITING: usize = 40;
const ENDED: usize = 50;
const ROUNDS: usize = 500;

/// What is measured, in this order.
const EVENTS: [&str; 9] = [
    "device freed, next lease gets it",
    "lease created, waits",
    "lease created, gets a device",
    "waiting lease given back",
    "exporter offline",
    "exporter online",
    "exporter told again, unchanged",
    "policy changed",
    "waiting lease looked at by its client",
];

/// Prints the tables.
pub(crate) fn report() {
    println!("{:<36} {:>9} {}", "event", "exporters", growth::headings());
    let mut growth: [Growth; EVENTS.len()] = Default::default();
    let mut whole = Vec::new();
    for size in SIZES {
        let mut scene = Scene::new(size);
        for (event, name) in EVENTS.iter().enumerate() {
            let rounds = if event == 7 { 20 } else { ROUNDS };
            let times = (0..rounds).map(|round| scene.event(event, round)).collect();
            println!("{name:<36} {size:>9} {}", growth[event].row(times));
        }
        whole.push((size, scene.leases(), scene.rebuild(), scene.throughput()));
    }
    println!(
        "\n{:>9} {:>8} {:>10} {:>14} {:>12} {:>16}",
        "exporters", "leases", "rebuild", "memory", "per exporter", "events a second"
    );
    for (size, leases, (seconds, bytes), events) in whole {
        let (mib, kib) = (bytes / f64::from(1 << 20), bytes / 1024.0 / size as f64);
        println!("{size:>9} {leases:>8} {seconds:>8.3} s {mib:>10.1} MiB {kib:>8.1} KiB {events:>16.0}");
    }
}

struct Scene {
    kit: Kit,
    kinds: usize,
    created: usize,
}

impl Scene {
    fn new(size: usize) -> Self {
        let kinds = size / BOARDS;
        let mut scene = Self { kit: Kit::new(), kinds, created: 0 };
        scene.policies_and_clients();
        for kind in 0..kinds {
            for board in 0..BOARDS {
                let busy = if board < RUNNING { "new" } else { "old" };
                let labels = [("board", &*format!("kind-{kind:03}")), ("rev", busy)];
                scene.kit.put_exporter(exporter(&format!("board-{kind:03}-{board:02}"), &labels));
            }
        }
        for kind in 0..kinds {
            (0..ENDED).for_each(|_| {
                let name = scene.create(kind, "new");
                scene.kit.release(&name);
            });
        }
        scene.kit.settle();
        for kind in 0..kinds {
            (0..RUNNING + WAITING).for_each(|_| _ = scene.create(kind, "new"));
        }
        scene.kit.settle();
        scene
    }

    fn policies_and_clients(&mut self) {
        for kind in 0..self.kinds {
            let (boards, team) = (format!("board=kind-{kind:03}"), format!("team in (team-{}, all)", kind % 10));
            self.kit.tell(Change::Policy(&policy(&format!("policy-{kind:03}"), &boards, &team, 5)));
        }
        for number in 0..self.kinds * 4 {
            self.kit.tell(Change::Client(&client(&format!("client-{number:03}"), "all")));
        }
    }

    fn leases(&self) -> usize {
        self.kit.leases.len()
    }

    fn create(&mut self, kind: usize, rev: &str) -> String {
        self.created += 1;
        let (name, client) =
            (format!("lease-{:07}", self.created), format!("client-{:03}", self.created % (self.kinds * 4)));
        let created = Timestamp::from_second(i64::try_from(self.created).unwrap_or(0)).unwrap_or_default();
        self.kit.put_lease(lease(&name, &client, &format!("board=kind-{kind:03},rev={rev}"), 3600, created));
        name
    }

    /// One event, and what it costs in µs. The lab is afterwards what it was before.
    fn event(&mut self, event: usize, round: usize) -> f64 {
        let kind = round % self.kinds;
        let board = format!("board-{kind:03}-{:02}", round % RUNNING);
        let idle = format!("board-{kind:03}-{:02}", RUNNING + round % 20);
        self.kit.settle();
        self.kit.took();
        match event {
            0 => {
                let held = self.holder(&board);
                let spent = self.kit.pass_on(&held, &board);
                assert_ne!(self.holder(&board), held, "the next lease gets it");
                self.kit.leases.remove(&held);
                self.kit.tell(Change::LeaseDeleted(&held));
                self.create(kind, "new");
                spent
            }
            1 => self.measured_create(kind, "new"),
            2 => self.measured_create(kind, "old"),
            3 => {
                let name = self.create(kind, "new");
                self.kit.settle();
                self.kit.took();
                self.kit.release(&name);
                let actions = self.kit.decide();
                let spent = self.kit.took();
                self.kit.carry_out(&actions);
                self.remove(&name);
                spent
            }
            4 | 5 => {
                let exporter = self.kit.exporters[&idle].clone();
                let steps = [connected(&exporter, event == 5), connected(&exporter, event == 4)];
                // First what is not measured: an exporter that is offline can come online.
                let [measured, other] = steps;
                self.change(other.clone());
                let spent = self.change(measured);
                self.change(connected(&exporter, true));
                spent
            }
            6 => {
                let exporter = self.kit.exporters[&idle].clone();
                self.change(exporter)
            }
            8 => {
                let waiting = self.waiting_in(kind);
                let started = Instant::now();
                let shown = self.kit.lab.explain(&waiting, self.kit.now);
                assert!(shown.is_some_and(|shown| shown.position.is_some()), "it waits");
                started.elapsed().as_secs_f64() * 1e6
            }
            _ => {
                let team = format!("team in (team-{}, all)", kind % 10);
                let boards = format!("board=kind-{kind:03}");
                let priority = i64::try_from(round % 2).unwrap_or(0) + 5;
                self.kit.tell(Change::Policy(&policy(&format!("policy-{kind:03}"), &boards, &team, priority)));
                let actions = self.kit.decide();
                let spent = self.kit.took();
                self.kit.carry_out(&actions);
                spent
            }
        }
    }

    fn change(&mut self, exporter: Exporter) -> f64 {
        self.kit.took();
        self.kit.put_exporter(exporter);
        let actions = self.kit.decide();
        let spent = self.kit.took();
        self.kit.carry_out(&actions);
        self.kit.settle();
        spent
    }

    fn measured_create(&mut self, kind: usize, rev: &str) -> f64 {
        self.kit.took();
        let name = self.create(kind, rev);
        let actions = self.kit.decide();
        let spent = self.kit.took();
        assert!(!actions.is_empty(), "it waits, or gets a device");
        self.kit.carry_out(&actions);
        let held = self.kit.leases[&name].assigned_exporter().map(str::to_owned);
        self.kit.release(&name);
        self.kit.settle();
        if let Some(exporter) = held {
            self.kit.torn_down(&exporter);
        }
        self.remove(&name);
        spent
    }

    fn remove(&mut self, lease: &str) {
        self.kit.settle();
        self.kit.leases.remove(lease);
        self.kit.tell(Change::LeaseDeleted(lease));
        self.kit.settle();
    }

    fn waiting_in(&self, kind: usize) -> String {
        let pool = self.kit.leases.iter().rev().filter(|(_, lease)| !lease.is_ended());
        let kind = format!("kind-{kind:03}");
        let of_kind = |lease: &&Lease| format!("{:?}", lease.spec.selector).contains(&kind);
        pool.filter(|(_, lease)| lease.assigned_exporter().is_none())
            .find(|(_, lease)| of_kind(lease))
            .map(|(name, _)| name.clone())
            .expect("somebody waits")
    }

    fn holder(&self, exporter: &str) -> String {
        let status = self.kit.exporters[exporter].status.as_ref();
        status.and_then(|status| status.lease_ref.as_ref()).map(|claim| claim.name.clone()).expect("it is leased")
    }

    /// Seconds until a new core that is told everything has decided, and the bytes that it takes.
    fn rebuild(&self) -> (f64, f64) {
        let (exporters, leases): (Vec<&Exporter>, Vec<&Lease>) =
            (self.kit.exporters.values().collect(), self.kit.leases.values().collect());
        let mut copy = Self { kit: Kit::new(), kinds: self.kinds, created: 0 };
        let before = resident();
        let started = Instant::now();
        copy.policies_and_clients();
        for exporter in exporters {
            copy.kit.lab.observe(Change::Exporter(exporter));
        }
        for lease in leases {
            copy.kit.lab.observe(Change::Lease(lease));
        }
        let actions = copy.kit.decide();
        assert!(actions.is_empty(), "what is stored needs no repair: {:?}", actions.first());
        (started.elapsed().as_secs_f64(), resident() - before)
    }

    /// Inputs a second that the core takes from a lab at work: leases come, get devices, run, are given back.
    fn throughput(&mut self) -> f64 {
        self.kit.settle();
        self.kit.took();
        self.kit.inputs = 0;
        for round in 0..2_000 {
            let kind = round * 7 % self.kinds;
            let board = format!("board-{kind:03}-{:02}", round % RUNNING);
            let held = self.holder(&board);
            self.kit.release(&held);
            self.kit.settle();
            self.kit.torn_down(&board);
            self.kit.settle();
            self.create(kind, "new");
            self.kit.settle();
            self.kit.leases.remove(&held);
            self.kit.tell(Change::LeaseDeleted(&held));
        }
        self.kit.inputs as f64 / (self.kit.took() / 1e6)
    }
}

/// Resident memory of this process, in bytes; zero where `/proc` does not tell.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) * 1024.0
}

const _: () = assert!(RUNNING + 20 <= BOARDS, "idle boards are of the other revision");
