//! How evenly a lab that is always full is dealt out among teams that ask for very different amounts, by shares and in the
//! order of age; and what quotas cost.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::Instant,
};

use jumpstarter_model::{AccountBy, Client, GoDuration, LeaseQuota, LeaseQuotaSpec, Selector, Timestamp};
use jumpstarter_scheduler::{Action, Change};

use crate::{
    day::Dice,
    growth::{self, Growth},
    kit::Kit,
    objects::{client, exporter, lease},
};

const BOARDS: u64 = 40;
const TEAMS: u64 = 6;
const HOURS: u64 = 24;

/// Prints the tables.
pub(crate) fn report() {
    println!("{:<24} {:>9} {:>13} {:>24}", "rule", "Jain", "worst, best", "board hours of each team");
    for (name, quota) in [("by age", Vec::new()), ("by share", shares(1)), ("by share, one weighs 2", shares(2))] {
        let weights = (0..TEAMS).map(|team| if team == 0 && name.contains('2') { 2.0 } else { 1.0 });
        let hours = day(&quota);
        let per_weight = hours.iter().zip(weights).map(|(hours, weight)| hours / weight).collect::<Vec<_>>();
        let total: f64 = per_weight.iter().sum();
        let squares: f64 = per_weight.iter().map(|hours| hours * hours).sum();
        let (worst, best) =
            per_weight.iter().fold((f64::MAX, 0.0_f64), |(low, high), hours| (low.min(*hours), high.max(*hours)));
        let shown = hours.iter().map(|hours| format!("{hours:.0}")).collect::<Vec<_>>().join(" ");
        println!(
            "{name:<24} {:>9.3} {:>13} {shown:>24}",
            total * total / (TEAMS as f64 * squares),
            format!("{worst:.0}, {best:.0}")
        );
    }
}

/// Quotas that give all teams a weight of 1, and the first one another.
fn shares(first: i64) -> Vec<LeaseQuota> {
    let quota = |name: &str, clients: &str, weight| {
        let spec = LeaseQuotaSpec {
            client_selector: Some(Selector::parse(clients).expect("a selector of this file").to_label_selector()),
            account_by: Some(AccountBy::Label),
            account_label: Some("team".to_owned()),
            weight: Some(weight),
            ..LeaseQuotaSpec::default()
        };
        LeaseQuota::new(name, spec)
    };
    vec![quota("first", "team=team-0", first), quota("others", "team notin (team-0)", 1)]
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    TornDown(u64),
    Over(u64),
    Arrives(u64),
}

/// Board hours that each team had in a day. Every team asks for more than its part, the last one for six times as much
/// as the first; some of the leases are short, some long.
fn day(quotas: &[LeaseQuota]) -> Vec<f64> {
    let (mut kit, mut dice, mut agenda) = (Kit::new(), Dice::new(5), BinaryHeap::new());
    for quota in quotas {
        kit.tell(Change::Quota(quota));
    }
    for team in 0..TEAMS {
        kit.tell(Change::Client(&client(&format!("client-{team}"), &format!("team-{team}"))));
    }
    for board in 0..BOARDS {
        kit.put_exporter(exporter(&format!("board-{board:02}"), &[("pool", "main")]));
    }
    let (mut jobs, mut hours) = (Vec::new(), vec![0.0; TEAMS as usize]);
    for team in 0..TEAMS {
        // A lease takes half an hour on average: this keeps 8 boards busy, and a multiple of that.
        let every = 1800.0 / (8.0 * (team + 1) as f64);
        let mut at = 0.0;
        while at < (HOURS * 3600) as f64 {
            at -= (1.0 - dice.share()).ln() * every;
            jobs.push((at as u64, team, 600 + dice.below(2_400)));
        }
    }
    agenda.extend(jobs.iter().enumerate().map(|(index, (at, ..))| Reverse((*at, Event::Arrives(index as u64)))));
    let mut boards = BTreeMap::new();
    while let Some(Reverse((at, event))) = agenda.pop().filter(|Reverse((at, _))| *at < HOURS * 3600) {
        kit.now = Timestamp::from_second(at.cast_signed()).unwrap_or_default();
        match event {
            Event::Arrives(index) => {
                let client = format!("client-{}", jobs[index as usize].1);
                kit.put_lease(lease(&format!("lease-{index:06}"), &client, "pool=main", 7200, kit.now));
            }
            Event::Over(index) => {
                kit.release(&format!("lease-{index:06}"));
                agenda.push(Reverse((at + 10, Event::TornDown(boards[&index]))));
            }
            Event::TornDown(board) => kit.torn_down(&format!("board-{board:02}")),
        }
        kit.settle();
        for (lease, board) in std::mem::take(&mut kit.granted) {
            let index: u64 = lease.trim_start_matches("lease-").parse().expect("a name of this file");
            let (_, team, takes) = jobs[index as usize];
            boards.insert(index, board.trim_start_matches("board-").parse().expect("a name of this file"));
            hours[team as usize] += takes.min(HOURS * 3600 - at) as f64 / 3600.0;
            agenda.push(Reverse((at + takes, Event::Over(index))));
        }
        kit.ended.clear();
    }
    hours
}

const EVENTS: usize = 300;

/// Prints what a freed device costs with twenty quotas, in labs of growing size in which what the event concerns stays the
/// same.
pub(crate) fn cost() {
    println!("{:<44} {:>9} {}", "quotas", "exporters", growth::headings());
    for (name, count, caps) in
        [("none", 0, false), ("twenty with weights", 20, false), ("twenty with weights, accounts at caps", 20, true)]
    {
        let mut growth = Growth::default();
        for size in [100, 1_000, 10_000] {
            let mut bench = Bench::new(size, count, caps);
            let times = (0..EVENTS).map(|event| bench.free_one(event)).collect();
            println!("{name:<44} {size:>9} {}", growth.row(times));
        }
    }
    flood();
}

/// Boards of a kind, leases of a kind that wait, and teams of a kind, with a client each.
const OF_KIND: usize = 50;
const WAITING: usize = 20;
const TEAMS_OF_KIND: usize = 4;

struct Bench {
    kit: Kit,
    kinds: usize,
    created: usize,
}

impl Bench {
    fn new(size: usize, quotas: i64, caps: bool) -> Self {
        let mut bench = Self { kit: Kit::new(), kinds: size / OF_KIND, created: 0 };
        for number in 0..quotas {
            // Half of them are about all exporters, half about half of them.
            let exporters = if number % 2 == 0 { "board" } else { "half=yes" };
            let spec = LeaseQuotaSpec {
                exporter_selector: Some(Selector::parse(exporters).expect("a selector").to_label_selector()),
                account_by: (number % 4 < 2).then_some(AccountBy::Label),
                account_label: (number % 4 < 2).then(|| "team".to_owned()),
                max_devices: Some(if caps { 10 } else { 40 + number }),
                max_device_time: Some(GoDuration::from_secs(1_000_000)),
                period: Some(GoDuration::from_secs(86_400)),
                weight: Some(1 + number),
                ..LeaseQuotaSpec::default()
            };
            bench.kit.tell(Change::Quota(&LeaseQuota::new(&format!("quota-{number:02}"), spec)));
        }
        for kind in 0..bench.kinds {
            for team in 0..TEAMS_OF_KIND {
                let (name, team) = (client_name(kind, team), format!("team-{kind}-{team}"));
                bench.kit.tell(Change::Client(&client(&name, &team)));
            }
            for board in 0..OF_KIND {
                let (of, half) = (format!("kind-{kind:03}"), if board % 2 == 0 { "yes" } else { "no" });
                bench
                    .kit
                    .put_exporter(exporter(&format!("board-{kind:03}-{board:02}"), &[("board", &of), ("half", half)]));
            }
        }
        for _ in 0..OF_KIND + WAITING {
            (0..bench.kinds).for_each(|kind| bench.create(kind));
        }
        bench.kit.settle();
        bench
    }

    fn create(&mut self, kind: usize) {
        self.created += 1;
        let client = client_name(kind, self.created / self.kinds % TEAMS_OF_KIND);
        let created = Timestamp::from_second(self.created.try_into().unwrap_or(0)).unwrap_or_default();
        let selector = format!("board=kind-{kind:03}");
        self.kit.put_lease(lease(&format!("lease-{:06}", self.created), &client, &selector, 3600, created));
    }

    /// Gives one running lease back and measures, in µs, what the core takes until the next lease has a device.
    fn free_one(&mut self, event: usize) -> f64 {
        let kind = event % self.kinds;
        let held = self.kit.exporters.range(format!("board-{kind:03}-")..).find_map(|(name, exporter)| {
            let claim = exporter.status.as_ref()?.lease_ref.as_ref()?;
            Some((claim.name.clone(), name.clone()))
        });
        let (lease, exporter) = held.expect("a lease runs");
        let spent = self.kit.pass_on(&lease, &exporter);
        self.kit.leases.remove(&lease);
        self.kit.settle();
        self.create(kind);
        self.kit.settle();
        spent
    }
}

fn client_name(kind: usize, team: usize) -> String {
    format!("client-{kind:03}-{team}")
}

/// A hundred thousand leases of one client come at once, then one of another.
fn flood() {
    let mut kit = Kit::new();
    let people: [Client; 2] = [client("client-0", "one"), client("client-1", "other")];
    for client in &people {
        kit.tell(Change::Client(client));
    }
    (0..20).for_each(|board| kit.put_exporter(exporter(&format!("board-{board:02}"), &[("pool", "main")])));
    let started = Instant::now();
    for index in 0..100_000 {
        kit.put_lease(lease(&format!("lease-{index:06}"), "client-0", "pool=main", 3600, Timestamp::UNIX_EPOCH));
    }
    let actions = kit.decide();
    let refused = actions.iter().filter(|action| matches!(action, Action::Refuse { .. })).count();
    let seconds = started.elapsed().as_secs_f64();
    kit.carry_out(&actions);
    kit.settle();
    let waiting: BTreeSet<&str> =
        actions.iter().filter(|action| matches!(action, Action::Wait { .. })).filter_map(Action::lease).collect();
    kit.took();
    kit.put_lease(lease("other", "client-1", "pool=main", 3600, Timestamp::UNIX_EPOCH));
    let _ = kit.decide();
    println!(
        "\n100,000 leases of one client at once: {} wait, {refused} are refused, in {seconds:.2} s; the next lease of another \
         client is decided in {:.1} µs.",
        waiting.len(),
        kit.took()
    );
}
