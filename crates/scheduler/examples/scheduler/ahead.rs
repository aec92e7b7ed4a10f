//! What one event costs where much is planned ahead, and where groups wait.

use std::collections::BTreeMap;

use jumpstarter_model::{
    GoDuration, LeaseGroup, LocalObjectReference, MaintenanceWindow, MaintenanceWindowSpec, Selector, Timestamp,
};
use jumpstarter_scheduler::Change;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    growth::{Growth, headings},
    kit::Kit,
    objects::{client, exporter, lease},
};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Boards of a kind; exporters are of one kind each.
const BOARDS: usize = 50;
const ROUNDS: usize = 300;
const HOUR: i64 = 3600;

/// Reservations of each exporter, one every second day, and recurring windows of all, two of which are about each.
const RESERVATIONS: i64 = 5;
const WINDOWS: usize = 20;

/// What is measured of reservations, in this order.
const EVENTS: [&str; 4] =
    ["device freed, next lease fits its gap", "reservation created", "reservation given back", "window told again"];

/// Prints the tables.
pub(crate) fn report() {
    let mut growth = BTreeMap::<&str, Growth>::new();
    println!("{:<36} {:>9} {}", "event", "exporters", headings());
    for size in SIZES {
        let mut scene = Planned::new(size);
        for (event, name) in EVENTS.iter().enumerate() {
            let rounds = if event == 3 { 20 } else { ROUNDS };
            let times = (0..rounds).map(|round| scene.event(event, round)).collect();
            println!("{name:<36} {size:>9} {}", growth.entry(name).or_default().row(times));
        }
    }
    println!("\n{:<36} {:>9} {}", "device freed while groups wait", "exporters", headings());
    for size in SIZES {
        for (name, kinds, groups) in [
            ("one group for each kind", size / BOARDS, size / BOARDS),
            ("100 groups, all for the one kind", 1, 100),
            ("one for 20 boards, for the one kind", 1, size / 20),
        ] {
            let mut scene = Grouped::new(size, kinds, groups);
            let times = (0..ROUNDS).map(|round| scene.free_one(round)).collect();
            println!("{name:<36} {size:>9} {}", growth.entry(name).or_default().row(times));
        }
    }
}

fn name_of(index: usize) -> String {
    format!("exporter-{index:05}")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// A lab in which every exporter is leased and has reservations.
struct Planned {
    kit: Kit,
    size: usize,
    created: usize,
}

impl Planned {
    fn new(size: usize) -> Self {
        let mut scene = Self { kit: Kit::new(), size, created: 0 };
        scene.kit.now = at(1_767_225_600);
        (0..50).for_each(|number| scene.kit.tell(Change::Client(&client(&format!("client-{number}"), "lab"))));
        for index in 0..size {
            let (kind, shift) = (format!("kind-{:03}", index / BOARDS), format!("{}", index % (WINDOWS / 2)));
            scene.kit.put_exporter(exporter(&name_of(index), &[("board", &kind), ("shift", &shift)]));
        }
        (0..WINDOWS).for_each(|number| scene.window(number));
        for index in 0..size {
            for day in 1..=RESERVATIONS {
                scene.create(|lease| {
                    lease.spec.selector = jumpstarter_model::LeaseSpec::default().selector;
                    lease.spec.exporter_ref = Some(LocalObjectReference::new(name_of(index)));
                    lease.spec.begin_time = Some(Time(at(1_767_225_600 + day * 48 * HOUR)));
                });
            }
        }
        // One lease for each exporter, and one in five that waits.
        for index in (0..size).chain((0..size).step_by(5)) {
            scene.wanting(index / BOARDS);
        }
        scene.kit.settle();
        scene
    }

    fn window(&mut self, number: usize) {
        let shift = format!("shift={}", number % (WINDOWS / 2));
        let spec = MaintenanceWindowSpec {
            exporter_selector: Selector::parse(&shift).ok().map(|shift| shift.to_label_selector()),
            schedule: Some(format!("{number} 22 * * {}", number % 7)),
            duration: Some(GoDuration::from_secs(HOUR)),
            ..MaintenanceWindowSpec::default()
        };
        self.kit.tell(Change::Window(&MaintenanceWindow::new(&format!("window-{number:02}"), spec)));
    }

    fn create(&mut self, change: impl FnOnce(&mut jumpstarter_model::Lease)) -> String {
        self.created += 1;
        let (name, client) = (format!("lease-{:07}", self.created), format!("client-{}", self.created % 50));
        let created = at(i64::try_from(self.created).unwrap_or(0));
        let mut lease = lease(&name, &client, "board", HOUR, created);
        change(&mut lease);
        self.kit.put_lease(lease);
        name
    }

    fn wanting(&mut self, kind: usize) -> String {
        let selector = Selector::parse(&format!("board=kind-{kind:03}")).map(|selector| selector.to_label_selector());
        self.create(|lease| lease.spec.selector = selector.unwrap_or_default())
    }

    fn event(&mut self, event: usize, round: usize) -> f64 {
        let index = round * 7 % self.size;
        let kind = index / BOARDS;
        self.kit.settle();
        self.kit.took();
        match event {
            0 => {
                let spent = free(&mut self.kit, &name_of(index));
                self.wanting(kind);
                spent
            }
            1 | 2 => {
                let begin = Time(at(1_767_225_600 + 24 * HOUR));
                let selector = Selector::parse(&format!("board=kind-{kind:03}"));
                let selector = selector.map(|selector| selector.to_label_selector()).unwrap_or_default();
                self.kit.took();
                let name = self.create(|lease| {
                    lease.spec.selector = selector;
                    lease.spec.begin_time = Some(begin);
                });
                let actions = self.kit.decide();
                let created = self.kit.took();
                assert!(!actions.is_empty(), "an exporter is reserved");
                self.kit.carry_out(&actions);
                self.kit.settle();
                self.kit.took();
                self.kit.release(&name);
                let actions = self.kit.decide();
                let given_back = self.kit.took();
                self.kit.carry_out(&actions);
                self.kit.leases.remove(&name);
                self.kit.tell(Change::LeaseDeleted(&name));
                if event == 1 { created } else { given_back }
            }
            _ => {
                self.window(round % WINDOWS);
                let actions = self.kit.decide();
                let spent = self.kit.took();
                self.kit.carry_out(&actions);
                spent
            }
        }
    }
}

/// A lab in which every exporter is leased, and groups of two wait beside single leases.
struct Grouped {
    kit: Kit,
    size: usize,
    kinds: usize,
    created: usize,
}

impl Grouped {
    fn new(size: usize, kinds: usize, groups: usize) -> Self {
        let mut scene = Self { kit: Kit::new(), size, kinds, created: 0 };
        (0..50).for_each(|number| scene.kit.tell(Change::Client(&client(&format!("client-{number}"), "lab"))));
        for index in 0..size {
            let (kind, rack) = (scene.kind(index), format!("rack-{}", index / 20));
            scene.kit.put_exporter(exporter(&name_of(index), &[("board", &kind), ("rack", &rack)]));
        }
        (0..size).for_each(|index| scene.create(index, None));
        scene.kit.settle();
        for group in 0..groups {
            (0..2).for_each(|_| scene.create(group * size / groups, Some(group)));
        }
        (0..size / 5).for_each(|index| scene.create(index * 5, None));
        scene.kit.settle();
        scene
    }

    fn kind(&self, index: usize) -> String {
        format!("kind-{:03}", index * self.kinds / self.size)
    }

    fn create(&mut self, index: usize, group: Option<usize>) {
        self.created += 1;
        let (name, client) = (format!("lease-{:07}", self.created), format!("client-{}", index % 50));
        let created = at(i64::try_from(self.created).unwrap_or(0));
        let length = HOUR + i64::try_from(self.created % 1000).unwrap_or(0);
        let mut lease = lease(&name, &client, &format!("board={}", self.kind(index)), length, created);
        if let Some(group) = group {
            let (name, same) = (format!("group-{group:05}"), vec!["rack".to_owned()]);
            LeaseGroup { name, size: 2, same }.write(&mut lease.metadata);
        }
        self.kit.put_lease(lease);
    }

    fn free_one(&mut self, round: usize) -> f64 {
        let index = round * 7 % self.size;
        let held = self.kit.exporters[&name_of(index)].status.as_ref().is_some_and(|status| status.lease_ref.is_some());
        self.kit.settle();
        self.kit.took();
        if !held {
            // It is kept back: somebody else's is freed.
            return self.free_one(round + 1);
        }
        let spent = free(&mut self.kit, &name_of(index));
        self.create(index, None);
        self.kit.settle();
        spent
    }
}

/// Gives the lease of an exporter back, and measures, in µs, what the core takes until it is decided who is next.
fn free(kit: &mut Kit, exporter: &str) -> f64 {
    let claim = kit.exporters[exporter].status.as_ref().and_then(|status| status.lease_ref.clone());
    let held = claim.expect("it is leased").name;
    let spent = kit.pass_on(&held, exporter);
    kit.leases.remove(&held);
    kit.tell(Change::LeaseDeleted(&held));
    kit.settle();
    spent
}
