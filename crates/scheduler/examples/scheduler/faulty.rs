//! A day of a lab in which some boards are dead and some flaky, with quarantine and without it. Whoever meets a failure
//! asks again after a minute.

use std::{cmp::Reverse, collections::BinaryHeap};

use jumpstarter_model::{Exporter, ExporterPhase, Timestamp};
use jumpstarter_scheduler::{LabConfig, health};

use crate::{
    day::{BOARDS, DAY, Dice, Job, KINDS, board_name, day},
    kit::Kit,
    objects::{exporter, lease},
};

/// One board in so many is dead, and another one flaky.
const ONE_IN: u64 = 33;
/// Percent of leases that fail on a flaky board.
const FLAKY: u64 = 30;
/// Seconds until a failure shows, and until its victim asks again.
const FAILS_AFTER: u64 = 60;
const TEAR_DOWN: u64 = 10;
/// How often time alone is given a chance.
const TICK: u64 = 60;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    TornDown(u64),
    /// What a board was leased for is over.
    Over(u64),
    Asks(usize),
    Tick,
}

#[derive(Default)]
struct Outcome {
    leases: u64,
    on_faulty: u64,
    failed: u64,
    checks: u64,
    most_kept: usize,
    healthy_kept: usize,
    waits: Vec<u64>,
}

/// Percent of its leases that fail on a board.
fn failing(board: u64) -> u64 {
    match board % ONE_IN {
        7 => 100,
        20 => FLAKY,
        _ => 0,
    }
}

/// Prints the table.
pub(crate) fn report() {
    let faulty = (0..KINDS * BOARDS).filter(|board| failing(*board) > 0).count();
    println!("{faulty} of {} boards are faulty, half of them dead.", KINDS * BOARDS);
    println!(
        "{:<10} {:<22} {:>7} {:>16} {:>9} {:>12} {:>10} {:>7}",
        "load, peak", "quarantine", "leases", "on faulty boards", "failed", "to be served", "most kept", "checks"
    );
    for percent in [70, 100] {
        let jobs = day(percent);
        for (rule, share, checks) in [("none", 0, false), ("with checks", 20, true), ("by time alone", 20, false)] {
            let outcome = play(&jobs, share, checks);
            let part = |count: u64| count as f64 * 100.0 / outcome.leases as f64;
            let wait = outcome.waits.iter().sum::<u64>() as f64 / outcome.waits.len() as f64 / 60.0;
            println!(
                "{percent:>8} % {rule:<22} {:>7} {:>14.2} % {:>7.2} % {wait:>8.1} min {:>10} {:>7}",
                outcome.leases,
                part(outcome.on_faulty),
                part(outcome.failed),
                outcome.most_kept,
                outcome.checks,
            );
            assert_eq!(outcome.healthy_kept, 0, "a healthy board was quarantined");
        }
    }
}

/// Mean wait counts from the first time that somebody asked until a lease that works begins.
fn play(jobs: &[Job], share: u32, checks: bool) -> Outcome {
    let mut config = LabConfig::default();
    (config.quarantine.share, config.quarantine.checks) = (share, checks);
    let (mut kit, mut outcome, mut dice) = (Kit::with(config), Outcome::default(), Dice(11));
    for board in 0..KINDS * BOARDS {
        let kind = format!("kind-{}", board / BOARDS);
        let mut object = exporter(&board_name(board), &[("pool", "main"), ("board", &kind)]);
        object.status.get_or_insert_default().exporter_status = Some(ExporterPhase::Available);
        kit.put_exporter(object);
    }
    let asks = jobs.iter().enumerate().map(|(index, job)| Reverse((job.arrives, Event::Asks(index))));
    let ticks = (0..DAY / TICK).map(|tick| Reverse((tick * TICK, Event::Tick)));
    let mut agenda: BinaryHeap<_> = asks.chain(ticks).collect();
    let mut held = vec![String::new(); usize::try_from(KINDS * BOARDS).unwrap_or(0)];
    let mut attempts = 0_u64;
    while let Some(Reverse((at, event))) = agenda.pop() {
        kit.now = Timestamp::from_second(i64::try_from(at).unwrap_or(0)).unwrap_or_default();
        match event {
            Event::Asks(index) => {
                attempts += 1;
                let selector = jobs[index].kind.map_or("pool=main".to_owned(), |kind| format!("board=kind-{kind}"));
                let name = format!("lease-{index:06}-{attempts:07}");
                kit.put_lease(lease(&name, "somebody", &selector, 10 * 86_400, kit.now));
            }
            Event::Over(board) => {
                let name = std::mem::take(&mut held[usize::try_from(board).unwrap_or(0)]);
                if kit.leases.contains_key(&name) {
                    kit.release(&name);
                }
                agenda.push(Reverse((at + TEAR_DOWN, Event::TornDown(board))));
            }
            Event::TornDown(board) => {
                says(&mut kit, board, ExporterPhase::Available);
                kit.torn_down(&board_name(board));
            }
            Event::Tick => {}
        }
        kit.settle();
        outcome.most_kept = outcome.most_kept.max(kit.lab.quarantined());
        for (lease, board) in std::mem::take(&mut kit.granted) {
            let board = (0..KINDS * BOARDS).find(|number| board_name(*number) == board).expect("a board of this file");
            let fails = dice.below(100) < failing(board);
            let phase = if fails { ExporterPhase::BeforeLeaseHookFailed } else { ExporterPhase::LeaseReady };
            says(&mut kit, board, phase);
            held[usize::try_from(board).unwrap_or(0)].clone_from(&lease);
            let Some(index) = lease.strip_prefix("lease-").and_then(|rest| rest.split('-').next()?.parse().ok()) else {
                outcome.checks += 1;
                agenda.push(Reverse((at + FAILS_AFTER, Event::Over(board))));
                continue;
            };
            let job: &Job = &jobs[index];
            outcome.leases += 1;
            outcome.on_faulty += u64::from(failing(board) > 0);
            outcome.failed += u64::from(fails);
            if fails {
                agenda.push(Reverse((at + FAILS_AFTER, Event::Over(board))));
                agenda.push(Reverse((at + FAILS_AFTER + FAILS_AFTER, Event::Asks(index))));
            } else {
                outcome.waits.push(at - job.arrives);
                agenda.push(Reverse((at + job.takes, Event::Over(board))));
            }
        }
        kit.settle();
        outcome.healthy_kept += (0..KINDS * BOARDS)
            .filter(|board| {
                event == Event::Tick && failing(*board) == 0 && is_kept(&kit.exporters[&board_name(*board)])
            })
            .count();
        for ended in std::mem::take(&mut kit.ended) {
            kit.leases.remove(&ended);
        }
    }
    outcome
}

/// A report of a board, stored as the service does.
fn says(kit: &mut Kit, board: u64, phase: ExporterPhase) {
    let mut exporter = kit.exporters[&board_name(board)].clone();
    let status = exporter.status.get_or_insert_default();
    let was = status.exporter_status.replace(phase);
    health::reported(status, was, kit.now);
    kit.put_exporter(exporter);
}

fn is_kept(exporter: &Exporter) -> bool {
    let status = exporter.status.as_ref();
    status.is_some_and(|status| status.conditions.iter().any(|it| it.type_ == "Quarantined" && it.status == "True"))
}
