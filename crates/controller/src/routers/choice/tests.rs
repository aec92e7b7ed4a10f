use proptest::prelude::*;

use super::{
    Standing::{Draining, Full, Gone, Ready, Suspect, Unreached, Untested},
    *,
};

fn router(endpoint: &str, labels: &[(&str, &str)]) -> RouterTarget {
    RouterTarget { endpoint: endpoint.to_owned(), labels: map(labels), probe: true }
}

fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn ready(target: &RouterTarget) -> Candidate<'_> {
    Candidate { target, standing: Standing::Ready, load: Load::default(), tried: false }
}

/// Every router that some dice choose for an exporter with these labels.
fn possible(candidates: &[Candidate<'_>], labels: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for first in 0..candidates.len() {
        for second in 0..candidates.len() {
            let mut dice = [first, second].into_iter();
            let chosen = choose(candidates, &map(labels), |n| dice.next().unwrap_or(0) % n).unwrap();
            found.push(chosen.endpoint.clone());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Labels of an exporter, and who may be chosen.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn labels_decide_among_routers_that_work() {
    let routers = [router("a", &[]), router("b", &[("site", "x")]), router("c", &[("site", "y")]), router("d", &[])];
    let candidates: Vec<_> = routers.iter().map(ready).collect();
    let rows: [Row<'_>; 5] = [
        (&[("site", "x")], &["b"]),
        (&[("site", "y")], &["c"]),
        // Nothing matches: any router but those for another site.
        (&[("site", "z")], &["a", "d"]),
        // An absent label is no veto.
        (&[], &["a", "b", "c", "d"]),
        (&[("board", "x")], &["a", "b", "c", "d"]),
    ];
    for (labels, expected) in rows {
        assert_eq!(possible(&candidates, labels), expected, "{labels:?}");
    }
    assert_eq!(choose(&[], &map(&[]), |_| 0), Err(NoRouter::NoneConfigured));
}

#[test]
fn one_contradiction_outweighs_any_match() {
    let routers = [router("a", &[("site", "x"), ("rack", "1")]), router("b", &[])];
    let candidates: Vec<_> = routers.iter().map(ready).collect();
    assert_eq!(possible(&candidates, &[("site", "x"), ("rack", "2")]), ["b"]);
    assert_eq!(possible(&candidates, &[("site", "x")]), ["a"], "one match, nothing against");
    assert_eq!(possible(&candidates[..1], &[("site", "y")]), ["a"], "better than none");
}

#[test]
fn health_comes_before_labels() {
    let routers = [router("fits", &[("site", "x")]), router("other", &[("site", "y")])];
    let outcome = |fits, other| {
        let mut candidates: Vec<_> = routers.iter().map(ready).collect();
        (candidates[0].standing, candidates[1].standing) = (fits, other);
        choose(&candidates, &map(&[("site", "x")]), |_| 0).map(|router| router.endpoint.as_str())
    };
    let rows = [
        (Ready, Ready, Ok("fits")),
        (Untested, Ready, Ok("other")),
        (Suspect, Ready, Ok("other")),
        (Full, Ready, Ok("other")),
        (Gone, Ready, Ok("other")),
        (Draining, Ready, Ok("other")),
        (Suspect, Untested, Ok("other")),
        (Full, Suspect, Ok("other")),
        (Gone, Full, Ok("other")),
        (Gone, Unreached, Ok("other")),
        (Draining, Gone, Ok("other")),
        // Nobody can be reached from here: all goes on as if nobody had looked.
        (Unreached, Unreached, Ok("fits")),
        (Gone, Gone, Ok("fits")),
        (Untested, Untested, Ok("fits")),
        (Draining, Draining, Err(NoRouter::AllDraining)),
    ];
    for (fits, other, expected) in rows {
        assert_eq!(outcome(fits, other), expected, "{fits:?} {other:?}");
    }
}

#[test]
fn a_router_that_never_answered_is_handed_out_where_the_labels_mean_it() {
    let routers = [router("private", &[("site", "x")]), router("public", &[]), router("y", &[("site", "y")])];
    let mut candidates: Vec<_> = routers.iter().map(ready).collect();
    candidates[0].standing = Standing::Unreached;
    assert_eq!(possible(&candidates, &[("site", "x")]), ["private"]);
    assert_eq!(possible(&candidates, &[("site", "y")]), ["y"], "a contradiction");
    assert_eq!(possible(&candidates, &[]), ["public", "y"], "nobody means it");
    candidates[0].tried = true;
    assert_eq!(possible(&candidates, &[("site", "x")]), ["public"], "nothing came of it");
    candidates[0].tried = false;
    let twin = router("twin", &[("site", "x")]);
    candidates.push(ready(&twin));
    assert_eq!(possible(&candidates, &[("site", "x")]), ["twin"], "somebody who answers is meant as well");
    candidates.pop();
    candidates[0].standing = Standing::Gone;
    assert_eq!(possible(&candidates, &[("site", "x")]), ["public"], "that it answered once is proof that it should");
}

#[test]
fn a_second_attempt_leads_elsewhere_but_not_away_from_the_labels() {
    let routers = [router("a", &[]), router("b", &[]), router("far", &[("site", "y")])];
    let mut candidates: Vec<_> = routers.iter().map(ready).collect();
    candidates[0].tried = true;
    assert_eq!(possible(&candidates, &[("site", "x")]), ["b"]);
    candidates[1].tried = true;
    assert_eq!(possible(&candidates, &[("site", "x")]), ["a", "b"]);
}

#[test]
fn bytes_weigh_like_streams() {
    let routers = [router("flashing", &[]), router("consoles", &[])];
    let mut candidates: Vec<_> = routers.iter().map(ready).collect();
    candidates[0].load = Load { streams: 1, bytes_per_second: 100 << 20 };
    candidates[1].load = Load { streams: 20, bytes_per_second: 0 };
    assert_eq!(possible(&candidates, &[]), ["consoles"]);
    candidates[1].load.streams = 40;
    assert_eq!(possible(&candidates, &[]), ["flashing"]);
}

fn standings() -> impl Strategy<Value = Standing> {
    prop::sample::select(vec![Ready, Untested, Suspect, Full, Unreached, Gone, Draining])
}

proptest! {
    /// Whatever is known and however the dice fall: nothing better is passed over, a draining router is never chosen,
    /// and of all equals only the busiest can never win against any other.
    #[test]
    fn nothing_better_is_passed_over(
        known in prop::collection::vec((standings(), 0u64..5, any::<bool>(), 0u8..3), 1..8),
        dice in prop::collection::vec(0usize..1000, 2),
        site in 0u8..3,
    ) {
        let targets: Vec<_> = known
            .iter()
            .enumerate()
            .map(|(n, (.., label))| match label {
                0 => router(&n.to_string(), &[]),
                label => router(&n.to_string(), &[("site", if *label == 1 { "1" } else { "2" })]),
            })
            .collect();
        let candidates: Vec<_> = known
            .iter()
            .zip(&targets)
            .map(|((standing, streams, tried, _), target)| Candidate {
                target,
                standing: *standing,
                load: Load { streams: *streams, bytes_per_second: 0 },
                tried: *tried,
            })
            .collect();
        let site = site.to_string();
        let mut labels = BTreeMap::new();
        if site != "0" {
            labels.insert("site".to_owned(), site);
        }
        let mut left = dice.into_iter();
        let chosen = choose(&candidates, &labels, |n| left.next().unwrap_or(0) % n);
        let Ok(chosen) = chosen else {
            prop_assert!(candidates.iter().all(|candidate| candidate.standing == Standing::Draining));
            return Ok(());
        };
        let chosen = candidates.iter().find(|candidate| candidate.target == chosen).unwrap();
        prop_assert!(chosen.standing != Standing::Draining);
        let fits = |candidate: &Candidate<'_>| affinity(&candidate.target.labels, &labels);
        let answering = candidates.iter().filter(|candidate| candidate.standing < Standing::Unreached);
        let best_answering = answering.clone().map(fits).max();
        if chosen.standing == Standing::Unreached && let Some(best) = best_answering {
            prop_assert!(!chosen.tried && fits(chosen) > best && fits(chosen) > Some(0));
            return Ok(());
        }
        let mut equals = Vec::new();
        for other in &candidates {
            prop_assert!(other.standing >= chosen.standing);
            if other.standing == chosen.standing {
                prop_assert!(fits(other) <= fits(chosen));
                if fits(other) == fits(chosen) {
                    prop_assert!(other.tried >= chosen.tried);
                    if other.tried == chosen.tried && other.target != chosen.target {
                        equals.push(other.load.cost());
                    }
                }
            }
        }
        prop_assert!(equals.is_empty() || equals.iter().any(|cost| *cost >= chosen.load.cost()));
    }
}
