//! Anything that can happen in a lab.

use proptest::{prelude::*, sample::select};

use super::{
    CLIENTS, EXPORTERS, History, SELECTORS,
    step::{Asked, Edit, Step, Target, Terms, Turn},
};
use crate::kit::PHASES;

fn step() -> impl Strategy<Value = Step> {
    let target = prop_oneof![
        3 => select(&SELECTORS[..]).prop_map(Target::Selector),
        1 => (select(&EXPORTERS[..]), any::<bool>())
            .prop_map(|(exporter, allow_disabled)| Target::Pinned { exporter, allow_disabled }),
    ];
    let times = prop_oneof![
        4 => (20..200_i64).prop_map(Asked::Duration),
        1 => (-20..40_i64, 20..200_i64).prop_map(|(begin, duration)| Asked::Begin(begin, duration)),
        1 => (5..200_i64).prop_map(Asked::End),
    ];
    let edit = prop_oneof![
        4 => Just(Edit::Release),
        1 => (1..200_i64).prop_map(Edit::Last),
        1 => select(&CLIENTS[..]).prop_map(Edit::Transfer),
        1 => select(&SELECTORS[..]).prop_map(Edit::Want),
    ];
    let turn = prop_oneof![
        3 => any::<bool>().prop_map(Turn::Online),
        1 => any::<bool>().prop_map(Turn::Registered),
        2 => any::<bool>().prop_map(Turn::Enabled),
        4 => select(&PHASES[..]).prop_map(Turn::Phase),
        1 => select(&["x", "y"][..]).prop_map(Turn::Board),
        1 => Just(Turn::Deleted),
    ];
    let terms = (-2..3_i64, proptest::option::of(10..150_i64), proptest::bool::weighted(0.5));
    let terms = terms.prop_map(|(priority, at_most, spot)| Terms { priority, at_most, spot });
    prop_oneof![
        9 => (select(&CLIENTS[..]), target, times, any::<bool>())
            .prop_map(|(client, target, times, requeues)| Step::Create { client, target, times, requeues }),
        4 => (any::<usize>(), edit).prop_map(|(lease, edit)| Step::Edit { lease, edit }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        6 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        5 => (select(&["p", "q"][..]), select(&["", "board=x", "board=y"][..]), select(&["", "team=b"][..]), terms)
            .prop_map(|(name, exporters, clients, terms)| Step::Policy { name, exporters, clients, terms }),
        1 => select(&["p", "q"][..]).prop_map(|name| Step::NoPolicy { name }),
        2 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        1 => select(&CLIENTS[..]).prop_map(|name| Step::NoClient { name }),
        6 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        3 => (1..60_i64).prop_map(|secs| Step::Wait { secs }),
        8 => Just(Step::Settle),
        2 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_rules(
        grace in select(&[0, 15, 40][..]),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        History::new(grace).run(&steps);
    }
}
