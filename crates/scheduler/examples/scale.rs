//! How long one freed device takes to be given to the next lease, in labs of 100 to 10,000 exporters with a fifth as
//! many leases in the queue. The last column relates each lab to the smallest of the same run.
//!
//! `cargo run --release -p jumpstarter-scheduler --example scale`

#![expect(clippy::print_stdout, reason = "a report for people")]

use std::{collections::BTreeMap, time::Instant};

use jumpstarter_model::{
    Client, ClientSpec, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterSpec, From, GoDuration,
    Lease, LeaseSpec, LocalObjectReference, Policy, Selector, Timestamp, set_condition,
};
use jumpstarter_scheduler::{Action, Change, Lab, LabConfig, transition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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

fn main() {
    println!(
        "{:<26} {:>9} {:>8} {:>10} {:>10} {:>7}",
        "demand", "exporters", "waiting", "µs median", "µs p99", "ratio"
    );
    for (name, demand, policies) in [
        ("same selector", Demand::Same, false),
        ("same selector, policies", Demand::Same, true),
        ("ten selectors", Demand::Kinds, false),
        ("ten selectors, policies", Demand::Kinds, true),
        ("pinned", Demand::Pinned, false),
    ] {
        let mut first = None;
        for exporters in [100, 1_000, 10_000] {
            let mut bench = Bench::new(exporters, demand, policies);
            let mut times = (0..EVENTS).map(|event| bench.free_one(event)).collect::<Vec<_>>();
            times.sort_by(f64::total_cmp);
            let (median, p99) = (times[EVENTS / 2], times[EVENTS * 99 / 100]);
            let ratio = median / *first.get_or_insert(median);
            println!("{name:<26} {exporters:>9} {:>8} {median:>10.1} {p99:>10.1} {ratio:>7.2}", bench.waiting);
        }
    }
}

/// A full lab with a queue, carried out in memory.
struct Bench {
    lab: Lab,
    exporters: BTreeMap<String, Exporter>,
    leases: BTreeMap<String, Lease>,
    waiting: usize,
    created: usize,
    demand: Demand,
}

impl Bench {
    fn new(exporters: usize, demand: Demand, policies: bool) -> Self {
        let lab = Lab::new(LabConfig::default());
        let waiting = exporters / 5;
        let mut bench = Self { lab, exporters: BTreeMap::new(), leases: BTreeMap::new(), waiting, created: 0, demand };
        if policies {
            for priority in 0..5 {
                bench.lab.observe(Change::Policy(&policy(priority)));
            }
        }
        for client in 0..50 {
            let mut client = Client::new(&format!("client-{client}"), ClientSpec::default());
            client.metadata.labels = Some([("team".to_owned(), "lab".to_owned())].into());
            bench.lab.observe(Change::Client(&client));
        }
        for index in 0..exporters {
            let exporter = exporter(index);
            bench.lab.observe(Change::Exporter(&exporter));
            bench.exporters.insert(exporter_name(index), exporter);
        }
        (0..exporters).for_each(|_| bench.create());
        bench.settle();
        (0..waiting).for_each(|_| bench.create());
        bench.settle();
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
        let pinned = matches!(self.demand, Demand::Pinned)
            .then(|| LocalObjectReference::new(exporter_name(index % self.exporters.len())));
        let name = format!("lease-{index:06}");
        let mut lease = Lease::new(
            &name,
            LeaseSpec {
                client_ref: LocalObjectReference::new(format!("client-{}", index % 50)),
                duration: Some(GoDuration::from_secs(3600)),
                selector: Selector::parse(&selector).expect("a selector of this file").to_label_selector(),
                exporter_ref: pinned,
                ..LeaseSpec::default()
            },
        );
        lease.metadata.uid = Some(name.clone());
        lease.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        self.lab.observe(Change::Lease(&lease));
        self.leases.insert(name, lease);
    }

    /// Releases one running lease and measures, in µs, what the core takes until the next lease has the device.
    fn free_one(&mut self, event: usize) -> f64 {
        let running = self.leases.values().filter(|lease| lease.assigned_exporter().is_some() && !lease.is_ended());
        let mut lease = running.clone().nth(event % 50).expect("a lease runs").clone();
        let exporter = lease.assigned_exporter().expect("it has an exporter").to_owned();
        lease.spec.release = Some(true);
        self.leases.insert(lease.metadata.name.clone().unwrap_or_default(), lease.clone());

        let started = Instant::now();
        self.lab.observe(Change::Lease(&lease));
        let ended = self.lab.decide(Timestamp::UNIX_EPOCH).actions;
        let mut spent = started.elapsed();
        self.carry_out(&ended);

        let started = Instant::now();
        self.lab.observe(Change::TearDown { exporter: &exporter, pending: false });
        let given = self.lab.decide(Timestamp::UNIX_EPOCH).actions;
        spent += started.elapsed();
        self.carry_out(&given);

        // Keeps the queue at its length.
        self.create();
        self.settle();
        spent.as_secs_f64() * 1e6
    }

    fn settle(&mut self) {
        loop {
            let actions = self.lab.decide(Timestamp::UNIX_EPOCH).actions;
            if actions.is_empty() {
                return;
            }
            self.carry_out(&actions);
        }
    }

    fn carry_out(&mut self, actions: &[Action]) {
        for action in actions {
            let lease = self.leases.get(action.lease());
            let exporter = action.exporter().or_else(|| lease?.assigned_exporter());
            let exporter = exporter.and_then(|name| self.exporters.get(name));
            let now = Timestamp::UNIX_EPOCH;
            self.lab.settle(action);
            let Some(written) = transition::apply(action, lease, exporter, now) else { continue };
            if let Some(lease) = written.lease_metadata.or(written.lease_status) {
                self.lab.observe(Change::Lease(&lease));
                let name = lease.metadata.name.clone().unwrap_or_default();
                if lease.is_ended() {
                    self.leases.remove(&name);
                } else {
                    self.leases.insert(name, lease);
                }
            }
            if let Some(exporter) = written.exporter_status {
                self.lab.observe(Change::Exporter(&exporter));
                self.exporters.insert(exporter.metadata.name.clone().unwrap_or_default(), exporter);
            }
        }
    }
}

fn exporter_name(index: usize) -> String {
    format!("exporter-{index:05}")
}

fn exporter(index: usize) -> Exporter {
    let mut exporter = Exporter::new(&exporter_name(index), ExporterSpec::default());
    exporter.metadata.labels = Some(
        [
            ("pool".to_owned(), "main".to_owned()),
            ("board".to_owned(), format!("board-{}", index % 10)),
            ("rack".to_owned(), format!("rack-{}", index / 20)),
        ]
        .into(),
    );
    let status = exporter.status.get_or_insert_default();
    for condition in ["Registered", "Online"] {
        set_condition(&mut status.conditions, condition, true, "Bench", "", None, Timestamp::UNIX_EPOCH);
    }
    exporter
}

fn policy(priority: i64) -> ExporterAccessPolicy {
    let everybody = From { client_selector: Selector::parse("team=lab").unwrap_or_default().to_label_selector() };
    let rule = Policy { priority: Some(priority), from: Some(vec![everybody]), ..Policy::default() };
    let exporters = Selector::parse(&format!("board notin (board-{priority})")).unwrap_or_default();
    let spec =
        ExporterAccessPolicySpec { exporter_selector: Some(exporters.to_label_selector()), policies: Some(vec![rule]) };
    ExporterAccessPolicy::new(&format!("policy-{priority}"), spec)
}
