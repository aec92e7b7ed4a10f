//! The worst that a queue can be: everybody stands in the same one, or in one of ten, or each in one of their own.

use jumpstarter_model::{LocalObjectReference, Timestamp};
use jumpstarter_scheduler::Change;

use crate::{
    growth::{self, Growth},
    kit::Kit,
    objects::{client, exporter, lease, policy},
};

const EVENTS: usize = 300;

/// What the leases in the queue ask for.
#[derive(Clone, Copy)]
enum Demand {
    /// All the same: every exporter will do.
    Same,
    /// Ten kinds of board.
    Kinds,
    /// Each its own exporter.
    Pinned,
}

/// Prints the table.
pub(crate) fn report() {
    println!("{:<26} {:>9} {:>8} {}", "demand", "exporters", "waiting", growth::headings());
    for (name, demand, policies) in [
        ("same selector", Demand::Same, false),
        ("same selector, policies", Demand::Same, true),
        ("ten selectors", Demand::Kinds, false),
        ("ten selectors, policies", Demand::Kinds, true),
        ("pinned", Demand::Pinned, false),
    ] {
        let mut growth = Growth::default();
        for exporters in [100, 1_000, 10_000] {
            let mut bench = Bench::new(exporters, demand, policies);
            let times = (0..EVENTS).map(|event| bench.free_one(event)).collect();
            println!("{name:<26} {exporters:>9} {:>8} {}", exporters / 5, growth.row(times));
        }
    }
}

/// A full lab with a queue.
struct Bench {
    kit: Kit,
    size: usize,
    created: usize,
    demand: Demand,
}

impl Bench {
    fn new(size: usize, demand: Demand, policies: bool) -> Self {
        let mut bench = Self { kit: Kit::new(), size, created: 0, demand };
        if policies {
            for priority in 0..5 {
                let exporters = format!("board notin (board-{priority})");
                let policy = policy(&format!("policy-{priority}"), &exporters, "team=lab", priority);
                bench.kit.tell(Change::Policy(&policy));
            }
        }
        for number in 0..50 {
            bench.kit.tell(Change::Client(&client(&format!("client-{number}"), "lab")));
        }
        for index in 0..size {
            let (board, rack) = (format!("board-{}", index % 10), format!("rack-{}", index / 20));
            let labels = [("pool", "main"), ("board", &*board), ("rack", &*rack)];
            bench.kit.put_exporter(exporter(&exporter_name(index), &labels));
        }
        (0..size).for_each(|_| bench.create());
        bench.kit.settle();
        (0..size / 5).for_each(|_| bench.create());
        bench.kit.settle();
        bench
    }

    fn create(&mut self) {
        let index = self.created;
        self.created += 1;
        let selector = match self.demand {
            Demand::Same => "pool=main".to_owned(),
            Demand::Kinds => format!("pool=main,board=board-{}", index % 10),
            Demand::Pinned => String::new(),
        };
        let (name, client) = (format!("lease-{index:06}"), format!("client-{}", index % 50));
        let mut lease = lease(&name, &client, &selector, 3600, Timestamp::UNIX_EPOCH);
        if matches!(self.demand, Demand::Pinned) {
            lease.spec.exporter_ref = Some(LocalObjectReference::new(exporter_name(index % self.size)));
        }
        self.kit.put_lease(lease);
    }

    /// Gives one running lease back and measures, in µs, what the core takes until the next lease has the device.
    fn free_one(&mut self, event: usize) -> f64 {
        let mut running = self.kit.leases.iter().filter_map(|(name, lease)| {
            let exporter = lease.assigned_exporter().filter(|_| !lease.is_ended())?;
            Some((name.clone(), exporter.to_owned()))
        });
        let (lease, exporter) = running.nth(event % 50).expect("a lease runs");
        drop(running);
        let spent = self.kit.pass_on(&lease, &exporter);
        self.kit.leases.remove(&lease);
        // Keeps the queue at its length.
        self.create();
        self.kit.settle();
        spent
    }
}

fn exporter_name(index: usize) -> String {
    format!("exporter-{index:05}")
}
