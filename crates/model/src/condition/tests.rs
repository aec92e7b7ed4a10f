//! The update rule of conditions, and the phrases that clients look for.

use super::{Condition, find, is_true, lease, set_condition};

fn at(second: i64) -> crate::Timestamp {
    crate::Timestamp::from_second(second).unwrap()
}

#[test]
fn conditions_are_edited_in_place_and_appended() {
    let mut list = Vec::<Condition>::new();
    assert!(set_condition(&mut list, "Pending", true, "Offline", "one", Some(1), at(1)));
    assert!(set_condition(&mut list, "Ready", true, "Ready", "", None, at(2)));
    // Another reason: the transition time stays, since the status does.
    assert!(set_condition(&mut list, "Pending", true, "NotReady", "two", Some(2), at(3)));
    assert_eq!(list.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), ["Pending", "Ready"]);
    let pending = find(&list, "Pending").unwrap();
    assert_eq!((pending.reason.as_str(), pending.message.as_str()), ("NotReady", "two"));
    assert_eq!((pending.last_transition_time.0, pending.observed_generation), (at(1), Some(2)));
    // The same again changes nothing.
    assert!(!set_condition(&mut list, "Pending", true, "NotReady", "two", Some(2), at(4)));
    // Another status moves the time.
    assert!(set_condition(&mut list, "Ready", false, "Released", "", None, at(5)));
    assert_eq!(find(&list, "Ready").unwrap().last_transition_time.0, at(5));
    assert!(is_true(&list, "Pending") && !is_true(&list, "Ready") && !is_true(&list, "Invalid"));
}

#[test]
fn the_generation_is_always_written() {
    let mut list = Vec::new();
    set_condition(&mut list, "Ready", true, "Ready", "", None, at(1));
    assert_eq!(serde_json::to_value(&list).unwrap()[0]["observedGeneration"], 0);
}

#[test]
fn messages() {
    let all = [
        lease::none_online(2, "rig-1"),
        lease::none_online(1, ""),
        lease::all_leased(3, "rig-1"),
        lease::none_ready(1, "rig-1"),
        lease::all_quarantined(1, "rig-1"),
        lease::all_quarantined(2, "rig-1"),
        lease::exporter_not_found("rig-1"),
        lease::selector_mismatch("rig-1", "board=x"),
        lease::exporter_disabled("rig-1"),
        lease::all_disabled(1),
        lease::all_disabled(4),
        lease::no_access(2, []),
        lease::no_access(2, ["lab team only", "", "nightly jobs"]),
        lease::preemption_notice("rig-1", at(1_767_323_045)),
        lease::preemption_withdrawn("rig-1"),
        lease::preempted("rig-1", None),
        lease::preempted("rig-1", Some("nightly-r2")),
        lease::not_found("board=x"),
        lease::scheduled(at(1_767_323_045)),
        lease::queued(1),
        lease::queued(12),
        lease::preparing("rig-1"),
        lease::ACQUIRED.to_owned(),
        lease::MARKED_FOR_RELEASE.to_owned(),
        lease::TIME_OVER.to_owned(),
        lease::SELECTOR_REQUIRED.to_owned(),
    ];
    for message in &all {
        assert!(!message.to_lowercase().contains("expired"), "{message}");
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn phrases_that_clients_look_for() {
    for (message, phrase) in [
        (lease::none_online(2, "a"), "none of them are online"),
        (lease::none_online(1, "a"), "none of them are online"),
        (lease::all_leased(2, "a"), "but all of them are already leased"),
        (lease::none_ready(2, "a"), "none are ready"),
        (lease::no_access(2, []), "none of them are approved by any policy"),
        (lease::exporter_disabled("a"), "is disabled"),
        (lease::exporter_disabled("a"), "spec.allowDisabled: true"),
        (lease::exporter_disabled("a"), "--allow-disabled"),
        (lease::no_access(2, ["x", "y"]), "Matching policies: x; y"),
    ] {
        assert!(message.contains(phrase), "{message}");
    }
}

#[test]
fn descriptions_are_cut_between_characters() {
    let long = "ü".repeat(3000);
    let message = lease::no_access(1, [long.as_str()]);
    let (_, descriptions) = message.split_once("Matching policies: ").unwrap();
    assert_eq!(descriptions.len(), 4096 + 3);
    assert!(descriptions.ends_with("ü..."));
    let exact = "x".repeat(4096);
    assert!(lease::no_access(1, [exact.as_str()]).ends_with('x'));
}
