//! Labs with quotas.

use proptest::{prelude::*, sample::select};

use super::{
    CLIENTS, EXPORTERS, History,
    step::{Asked, Edit, Limits, Step, Target, Turn},
};
use crate::kit::PHASES;

fn limits(weights: bool) -> impl Strategy<Value = Limits> {
    let devices = proptest::option::of(0..4_i64);
    let time = proptest::option::of((0..300_i64, 60..200_i64));
    let weight = proptest::option::of(1..4_i64);
    (select(&["", "board=x", "board"][..]), 0..3_u8, devices, time, weight).prop_map(
        move |(exporters, by, devices, time, weight)| Limits {
            exporters,
            by,
            devices,
            time,
            weight: weight.filter(|_| weights),
        },
    )
}

/// Steps of a lab without spot access.
fn limited_step() -> impl Strategy<Value = Step> {
    let target = select(&["board=x", "board=x", "board=y", "board"][..]).prop_map(Target::Selector);
    let times = prop_oneof![
        4 => (5..120_i64).prop_map(Asked::Duration),
        1 => (-20..40_i64, 20..200_i64).prop_map(|(begin, duration)| Asked::Begin(begin, duration)),
        1 => (5..200_i64).prop_map(Asked::End),
    ];
    let turn = prop_oneof![
        2 => select(&PHASES[..]).prop_map(Turn::Phase),
        2 => any::<bool>().prop_map(Turn::Online),
    ];
    prop_oneof![
        12 => (select(&CLIENTS[..]), target, times)
            .prop_map(|(client, target, times)| Step::Create { client, target, times, requeues: false }),
        3 => any::<usize>().prop_map(|lease| Step::Edit { lease, edit: Edit::Release }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        1 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        10 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        5 => (1..60_i64).prop_map(|secs| Step::Wait { secs }),
        10 => Just(Step::Settle),
        3 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

/// The same with quotas, clients and exporters that change.
fn unsteady_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => limited_step(),
        2 => (select(&["p", "q", "r"][..]), limits(true)).prop_map(|(name, quota)| Step::Quota { name, quota }),
        1 => select(&["p", "q", "r"][..]).prop_map(|name| Step::NoQuota { name }),
        1 => (any::<usize>(), 1..200_i64).prop_map(|(lease, secs)| Step::Edit { lease, edit: Edit::Last(secs) }),
        1 => (any::<usize>(), select(&CLIENTS[..]))
            .prop_map(|(lease, client)| Step::Edit { lease, edit: Edit::Transfer(client) }),
        1 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        1 => select(&CLIENTS[..]).prop_map(|name| Step::NoClient { name }),
        1 => (select(&EXPORTERS[..]), select(&["x", "y"][..]))
            .prop_map(|(name, board)| Step::Exporter { name, change: Turn::Board(board) }),
        1 => select(&EXPORTERS[..]).prop_map(|name| Step::Exporter { name, change: Turn::Deleted }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn a_cap_is_never_exceeded(
        quotas in proptest::collection::vec(limits(false), 1..4),
        steps in proptest::collection::vec(limited_step(), 1..60),
    ) {
        History::limited(&quotas).run(&steps);
    }

    #[test]
    fn every_history_with_quotas_and_shares_keeps_the_rules(
        steps in proptest::collection::vec(unsteady_step(), 1..60),
    ) {
        History::new(0).run(&steps);
    }
}
