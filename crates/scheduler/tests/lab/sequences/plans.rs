//! Labs with reservations and maintenance.

use proptest::{prelude::*, sample::select};

use super::{
    CLIENTS, EXPORTERS, History,
    step::{Asked, Edit, Step, Target, Turn},
};

/// Steps of a lab in which most is planned ahead.
fn planned_step() -> impl Strategy<Value = Step> {
    let target = prop_oneof![
        3 => select(&["board=x", "board=y", "board"][..]).prop_map(Target::Selector),
        1 => select(&EXPORTERS[..]).prop_map(|exporter| Target::Pinned { exporter, allow_disabled: false }),
    ];
    let times = prop_oneof![
        5 => (5..100_i64, 5..60_i64).prop_map(|(begin, duration)| Asked::Begin(begin, duration)),
        3 => (5..100_i64).prop_map(Asked::Duration),
        1 => (5..100_i64).prop_map(Asked::End),
    ];
    let edit = prop_oneof![
        3 => Just(Edit::Release),
        2 => (1..100_i64).prop_map(Edit::Last),
        2 => (1..60_i64).prop_map(Edit::Begin),
        1 => select(&["board=x", "board=y"][..]).prop_map(Edit::Want),
    ];
    let turn = prop_oneof![
        2 => any::<bool>().prop_map(Turn::Online),
        2 => any::<bool>().prop_map(Turn::Enabled),
        1 => select(&["x", "y"][..]).prop_map(Turn::Board),
        1 => Just(Turn::Deleted),
    ];
    let windows = || select(&["w", "v"][..]);
    prop_oneof![
        12 => (select(&CLIENTS[..]), target, times, Just(false))
            .prop_map(|(client, target, times, requeues)| Step::Create { client, target, times, requeues }),
        4 => (any::<usize>(), edit).prop_map(|(lease, edit)| Step::Edit { lease, edit }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        3 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        1 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        2 => (windows(), select(&["x", "y"][..]), proptest::option::of(Just("team=b")), 1..60_i64, 5..40_i64)
            .prop_map(|(name, board, clients, begin, secs)| Step::Window { name, board, clients, begin, secs }),
        1 => windows().prop_map(|name| Step::NoWindow { name }),
        8 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        6 => (1..30_i64).prop_map(|secs| Step::Wait { secs }),
        8 => Just(Step::Settle),
        3 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_keeps_the_rules(steps in proptest::collection::vec(planned_step(), 1..60)) {
        History::new(15).run(&steps);
    }
}
