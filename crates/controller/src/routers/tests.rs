use std::time::Duration;

use super::*;

fn target(endpoint: &str) -> RouterTarget {
    RouterTarget { endpoint: endpoint.to_owned(), labels: BTreeMap::new(), probe: true }
}

fn report(open: u64) -> RouterReport {
    RouterReport { draining: false, open, waiting: 0, max_streams: 1000, max_waiting: 500, total_bytes: 0 }
}

/// Routers that have said that they serve, at `now`.
fn serving(targets: &[RouterTarget], now: Instant) -> Routers {
    let routers = Routers::new(None);
    for target in targets {
        routers.known().at(&target.endpoint).reported(report(0), now);
    }
    routers
}

fn route(routers: &Routers, targets: &[RouterTarget], lease: &str, now: Instant) -> String {
    routers.route(targets, &BTreeMap::new(), lease, now).unwrap().endpoint.clone()
}

#[test]
fn a_burst_spreads_before_anything_is_reported() {
    let targets = ["a", "b", "c", "d"].map(target);
    let now = Instant::now();
    let routers = serving(&targets, now);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for n in 0..400 {
        *counts.entry(route(&routers, &targets, &n.to_string(), now)).or_default() += 1;
    }
    // Two drawn by lot differ by little at any time; one drawn by lot would differ by twenty.
    for target in &targets {
        let count = counts[&target.endpoint];
        assert!((90..=110).contains(&count), "{counts:?}");
    }
}

#[test]
fn a_lease_that_dials_again_is_sent_elsewhere_until_the_router_was_heard_of() {
    let targets = ["a", "b"].map(target);
    let start = Instant::now();
    for _ in 0..20 {
        let routers = serving(&targets, start);
        let first = route(&routers, &targets, "one", start);
        let second = route(&routers, &targets, "one", start);
        assert_ne!(first, second);
        // Both are heard of, and what they have to do counts again.
        let later = start + Duration::from_secs(2);
        routers.known().at("a").reported(report(0), later);
        routers.known().at("b").reported(report(7), later);
        assert_eq!(route(&routers, &targets, "one", later), "a");
    }
}

#[test]
fn a_local_router_is_asked_at_every_dial() {
    let state = Arc::new(Mutex::new(report(0)));
    let look = Arc::clone(&state);
    let local = LocalRouter { endpoint: "here".to_owned(), look: Arc::new(move || *look.lock().unwrap()) };
    let routers = Routers::new(Some(local));
    let targets = [target("here"), target("there")];
    routers.begin("there");
    let now = Instant::now();
    assert_eq!(route(&routers, &targets, "one", now), "here", "nothing is known of the other one yet");
    routers.reported("there", report(50));
    assert_eq!(route(&routers, &targets, "two", now), "here");
    state.lock().unwrap().open = 100;
    assert_eq!(route(&routers, &targets, "three", now), "there");
    *state.lock().unwrap() = RouterReport { draining: true, ..report(0) };
    assert_eq!(route(&routers, &targets, "four", now), "there");
    assert_eq!(routers.route(&targets[..1], &BTreeMap::new(), "five", now), Err(NoRouter::AllDraining));
}

#[test]
fn routers_out_of_reach_are_used_while_nobody_answers_and_unprobed_ones_always() {
    let mut targets = ["a", "b"].map(target);
    let now = Instant::now();
    let routers = Routers::new(None);
    for target in &targets {
        routers.begin(&target.endpoint);
        routers.failed(&target.endpoint, "no way");
    }
    let mut found: Vec<String> = (0..2).map(|_| route(&routers, &targets, "one", now)).collect();
    found.sort();
    assert_eq!(found, ["a", "b"], "as if nobody had looked, and the second dial elsewhere");
    routers.reported("b", report(30));
    assert_eq!(route(&routers, &targets, "two", now), "b");
    targets[0].probe = false;
    assert_eq!(route(&routers, &targets, "three", now), "a", "its word counts, and it has less to do");
}

#[test]
fn what_comes_late_of_a_forgotten_router_is_dropped() {
    let routers = Routers::new(None);
    routers.begin("a");
    routers.forget("a");
    routers.reported("a", report(1));
    assert!(routers.known().routers.is_empty());
}
