//! A day of a lab, decided by three rules: ours, the one of the service that labs come from, and one that knows how long
//! everybody will take. The last line is a bound: what boards that change their work at any moment could do.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use jumpstarter_model::Timestamp;

use crate::{
    kit::Kit,
    objects::{exporter, lease},
};

pub(crate) const KINDS: u64 = 10;
pub(crate) const BOARDS: u64 = 20;
pub(crate) const DAY: u64 = 24 * 3600;
/// Seconds after a lease for which its board cannot be used.
const TEAR_DOWN: u64 = 10;

/// One wish of one person.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) arrives: u64,
    /// How long the board is used, in seconds.
    pub(crate) takes: u64,
    /// The kind of board, or any.
    pub(crate) kind: Option<u64>,
}

impl Job {
    fn suits(&self, board: u64) -> bool {
        self.kind.is_none_or(|kind| board / BOARDS == kind)
    }
}

/// Chance that depends on its seed alone (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn share(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1u64 << 53) as f64
    }
}

/// What came of a day.
#[derive(Default)]
struct Outcome {
    /// Seconds that each job waited.
    waits: Vec<u64>,
    /// Board seconds used until the end of the day.
    used: u64,
}

/// Prints the table.
pub(crate) fn report() {
    println!(
        "{:<10} {:>7} {:<26} {:>11} {:>9} {:>9} {:>9} {:>9}",
        "load, peak", "leases", "rule", "utilisation", "mean wait", "p50", "p95", "p99"
    );
    for percent in [70, 100, 130] {
        let jobs = day(percent);
        for (rule, outcome) in [
            ("in order (ours)", ours(&jobs)),
            ("whoever looks first", polled(&jobs)),
            ("shortest first, foreseen", shortest_first(&jobs)),
        ] {
            let mut waits = outcome.waits;
            waits.sort_unstable();
            let at = |share: usize| minutes(waits[(waits.len() - 1) * share / 100] as f64);
            let mean = minutes(waits.iter().sum::<u64>() as f64 / waits.len() as f64);
            println!(
                "{percent:>8} % {:>7} {rule:<26} {:>9.1} % {mean:>9} {:>9} {:>9} {:>9}",
                jobs.len(),
                share(outcome.used),
                at(50),
                at(95),
                at(99)
            );
        }
        println!("{percent:>8} % {:>7} {:<26} {:>9.1} %", jobs.len(), "no order can use more", share(fluid(&jobs)));
    }
}

fn share(used: u64) -> f64 {
    used as f64 * 100.0 / (KINDS * BOARDS * DAY) as f64
}

fn minutes(seconds: f64) -> String {
    format!("{:.1} min", seconds / 60.0)
}

/// Six in ten are tests of minutes, three work for half an hour, one for hours; three in ten do not mind which board.
/// Between nine and five as many come as keep `percent` of the boards busy, at other times a fifth of that.
pub(crate) fn day(percent: u64) -> Vec<Job> {
    let mut dice = Dice(percent);
    let mean = 0.6 * 450.0 + 0.3 * 1_800.0 + 0.1 * 7_200.0;
    let peak = (KINDS * BOARDS) as f64 * percent as f64 / 100.0 / mean;
    let (mut at, mut jobs) = (0.0, Vec::new());
    loop {
        at -= (1.0 - dice.share()).ln() / peak;
        if at >= DAY as f64 {
            return jobs;
        }
        let arrives = at as u64;
        if !(9 * 3600..17 * 3600).contains(&arrives) && dice.below(5) > 0 {
            continue;
        }
        let takes = match dice.below(10) {
            0..=5 => 300 + dice.below(300),
            6..=8 => 900 + dice.below(1_800),
            _ => 3_600 + dice.below(7_200),
        };
        let kind = (dice.below(10) >= 3).then(|| dice.below(KINDS));
        jobs.push(Job { arrives, takes, kind });
    }
}

pub(crate) fn board_name(board: u64) -> String {
    format!("board-{:02}-{:02}", board / BOARDS, board % BOARDS)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    TornDown(u64),
    Over(usize),
    Arrives(usize),
    /// A lease looks whether there is something for it.
    Looks(usize),
}

type Agenda = BinaryHeap<Reverse<(u64, Event)>>;

fn agenda(jobs: &[Job]) -> Agenda {
    jobs.iter().enumerate().map(|(index, job)| Reverse((job.arrives, Event::Arrives(index)))).collect()
}

fn used(begin: u64, takes: u64) -> u64 {
    DAY.min(begin + takes).saturating_sub(begin.min(DAY))
}

/// The core decides.
fn ours(jobs: &[Job]) -> Outcome {
    let (mut kit, mut agenda, mut outcome) = (Kit::new(), agenda(jobs), Outcome::default());
    let numbers: BTreeMap<String, u64> = (0..KINDS * BOARDS).map(|board| (board_name(board), board)).collect();
    for (name, board) in &numbers {
        let kind = format!("kind-{}", board / BOARDS);
        kit.put_exporter(exporter(name, &[("pool", "main"), ("board", &kind)]));
    }
    let mut boards = vec![0; jobs.len()];
    while let Some(Reverse((at, event))) = agenda.pop() {
        kit.now = Timestamp::from_second(i64::try_from(at).unwrap_or(0)).unwrap_or_default();
        match event {
            Event::Arrives(index) => {
                let selector = jobs[index].kind.map_or("pool=main".to_owned(), |kind| format!("board=kind-{kind}"));
                kit.put_lease(lease(&format!("lease-{index:06}"), "somebody", &selector, 10 * 86_400, kit.now));
            }
            Event::Over(index) => {
                kit.release(&format!("lease-{index:06}"));
                agenda.push(Reverse((at + TEAR_DOWN, Event::TornDown(boards[index]))));
            }
            Event::TornDown(board) => kit.torn_down(&board_name(board)),
            Event::Looks(_) => {}
        }
        kit.settle();
        for (lease, board) in std::mem::take(&mut kit.granted) {
            let index: usize = lease.trim_start_matches("lease-").parse().expect("a name of this file");
            boards[index] = numbers[&board];
            outcome.waits.push(at - jobs[index].arrives);
            outcome.used += used(at, jobs[index].takes);
            agenda.push(Reverse((at + jobs[index].takes, Event::Over(index))));
        }
        for ended in std::mem::take(&mut kit.ended) {
            kit.leases.remove(&ended);
        }
    }
    outcome
}

/// Each lease looks for itself when it comes, after growing pauses of up to 30 s, and when a board that it could use
/// becomes free; whoever happens to look first takes the first free board by name.
fn polled(jobs: &[Job]) -> Outcome {
    let (mut agenda, mut outcome, mut dice) = (agenda(jobs), Outcome::default(), Dice(7));
    let mut free: BTreeSet<u64> = (0..KINDS * BOARDS).collect();
    let (mut waiting, mut boards) = (BTreeSet::new(), vec![0; jobs.len()]);
    while let Some(Reverse((at, event))) = agenda.pop() {
        let mut looks: Vec<usize> = match event {
            Event::Arrives(index) => {
                waiting.insert(index);
                vec![index]
            }
            Event::Looks(index) => vec![index],
            Event::Over(index) => {
                agenda.push(Reverse((at + TEAR_DOWN, Event::TornDown(boards[index]))));
                Vec::new()
            }
            Event::TornDown(board) => {
                free.insert(board);
                waiting.iter().copied().filter(|index: &usize| jobs[*index].suits(board)).collect()
            }
        };
        let woken = matches!(event, Event::TornDown(_));
        // In whatever order they come out of a queue of work.
        for last in (1..looks.len()).rev() {
            looks.swap(last, usize::try_from(dice.below(last as u64 + 1)).unwrap_or(0));
        }
        for index in looks {
            if !waiting.contains(&index) {
                continue;
            }
            let job = jobs[index];
            if let Some(board) = free.iter().copied().find(|board| job.suits(*board)) {
                free.remove(&board);
                waiting.remove(&index);
                boards[index] = board;
                outcome.waits.push(at - job.arrives);
                outcome.used += used(at, job.takes);
                agenda.push(Reverse((at + job.takes, Event::Over(index))));
            } else if !woken {
                let age = at - job.arrives;
                let pause = [1, 2, 4, 8, 16, 30].into_iter().find(|pause| *pause >= age).unwrap_or(30);
                agenda.push(Reverse((at + pause, Event::Looks(index))));
            }
        }
    }
    outcome
}

/// Whoever takes the shortest goes first, as only somebody can decide who knows how long everybody will take; who does
/// not mind takes from the kind of which most are free.
fn shortest_first(jobs: &[Job]) -> Outcome {
    let (mut agenda, mut outcome) = (agenda(jobs), Outcome::default());
    let mut free: Vec<Vec<u64>> = (0..KINDS).map(|kind| (kind * BOARDS..(kind + 1) * BOARDS).collect()).collect();
    let (mut waiting, mut boards) = (BTreeSet::new(), vec![0; jobs.len()]);
    while let Some(Reverse((at, event))) = agenda.pop() {
        match event {
            Event::Arrives(index) => _ = waiting.insert((jobs[index].takes, index)),
            Event::Over(index) => agenda.push(Reverse((at + TEAR_DOWN, Event::TornDown(boards[index])))),
            Event::TornDown(board) => free[kind_of(board)].push(board),
            Event::Looks(_) => {}
        }
        let roomiest = |free: &[Vec<u64>]| (0..free.len()).max_by_key(|kind| free[*kind].len()).unwrap_or(0);
        let next = |free: &[Vec<u64>], waiting: &BTreeSet<(u64, usize)>| {
            waiting.iter().copied().find_map(|(takes, index)| {
                let kind = jobs[index].kind.map_or_else(|| roomiest(free), |kind| kind_of(kind * BOARDS));
                (!free[kind].is_empty()).then_some((takes, index, kind))
            })
        };
        while let Some((takes, index, kind)) = next(&free, &waiting) {
            waiting.remove(&(takes, index));
            boards[index] = free[kind].pop().unwrap_or(0);
            outcome.waits.push(at - jobs[index].arrives);
            outcome.used += used(at, takes);
            agenda.push(Reverse((at + takes, Event::Over(index))));
        }
    }
    outcome
}

fn kind_of(board: u64) -> usize {
    usize::try_from(board / BOARDS).unwrap_or(0)
}

/// Board seconds that any order can use until the end of the day, even one that knows the future: as if all boards were
/// one that is as fast as all of them together.
fn fluid(jobs: &[Job]) -> u64 {
    let (mut backlog, mut used, mut last) = (0.0_f64, 0.0, 0);
    for (at, work) in jobs.iter().map(|job| (job.arrives, job.takes)).chain([(DAY, 0)]) {
        let done = backlog.min(((at - last) * KINDS * BOARDS) as f64);
        used += done;
        backlog += work as f64 - done;
        last = at;
    }
    used as u64
}
