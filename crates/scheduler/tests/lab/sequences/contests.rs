//! Labs in which those who have full access compete with those who have spot access.

use proptest::{prelude::*, sample::select};

use super::{
    CLIENTS, EXPORTERS, History,
    step::{Asked, Edit, Step, Target, Turn},
};
use crate::kit::PHASES;

/// Steps of a lab in which some have full access and others spot access to the same exporters.
fn crowded_step() -> impl Strategy<Value = Step> {
    let times = (5..120_i64).prop_map(Asked::Duration);
    let target = select(&["board=x", "board=x", "board=y", "board"][..]).prop_map(Target::Selector);
    let turn = prop_oneof![
        2 => select(&PHASES[..]).prop_map(Turn::Phase),
        1 => any::<bool>().prop_map(Turn::Online),
    ];
    prop_oneof![
        10 => (select(&CLIENTS[..]), target, times, any::<bool>())
            .prop_map(|(client, target, times, requeues)| Step::Create { client, target, times, requeues }),
        3 => any::<usize>().prop_map(|lease| Step::Edit { lease, edit: Edit::Release }),
        1 => (any::<usize>(), 1..100_i64).prop_map(|(lease, secs)| Step::Edit { lease, edit: Edit::Last(secs) }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        1 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        1 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        10 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        4 => (1..30_i64).prop_map(|secs| Step::Wait { secs }),
        10 => Just(Step::Settle),
        3 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_contest_keeps_the_rules(
        grace in select(&[0, 15, 40][..]),
        steps in proptest::collection::vec(crowded_step(), 1..60),
    ) {
        History::crowded(grace).run(&steps);
    }
}
