//! Tables: what one candidate does about what it sees.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use jiff::Timestamp;
use jumpstarter_election::{
    Candidate, Leader, Leadership, Machine, Moment, Record, Sighting, Source, Step, Timing, WriteFailure,
};

const WALL: Timestamp = Timestamp::UNIX_EPOCH;

fn at(milliseconds: u64) -> Moment {
    Duration::from_millis(milliseconds)
}

fn machine() -> Machine {
    let me = Candidate { identity: "me".to_owned(), address: "10.0.0.1:8082".to_owned() };
    Machine::new(me, Timing::default())
}

fn held(by: &str, version: u64) -> Sighting {
    let record = Record {
        holder: Some(by.to_owned()).filter(|by| !by.is_empty()),
        duration: Duration::from_secs(15),
        acquired: Some(WALL),
        // The version stands for the time of renewal, which changes with every write of the holder.
        renewed: Some(Timestamp::from_second(i64::try_from(version).unwrap()).unwrap()),
        transitions: 3,
        address: None,
    };
    Sighting { record, version: version.to_string() }
}

#[track_caller]
fn replaces(step: Step) -> (String, Record) {
    match step {
        Step::Replace { version, record } => (version, record),
        step => panic!("a replacement was expected, not {step:?}"),
    }
}

/// A machine that leads since a write sent at 0.
fn leader() -> Machine {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, None);
    let Step::Create(record) = machine.step(at(0), WALL) else { panic!("nothing is created") };
    machine.wrote(at(0), at(10), Ok(Sighting { record, version: "1".to_owned() }));
    assert_eq!(machine.leadership(at(10)), Leadership::Leading { term: 1 });
    machine
}

#[test]
fn the_first_step_is_to_read() {
    assert_eq!(machine().step(at(0), WALL), Step::Read);
}

#[test]
fn an_absent_lock_is_created() {
    let mut machine = machine();
    machine.observed(at(5), Source::Read, None);
    let Step::Create(record) = machine.step(at(5), WALL) else { panic!("nothing is created") };
    assert_eq!(record.holder.as_deref(), Some("me"));
    assert_eq!((record.duration, record.transitions), (Duration::from_secs(10), 0));
    assert_eq!(record.address.as_deref(), Some("10.0.0.1:8082"));
    assert_eq!(machine.leadership(at(5)), Leadership::Standby { leader: None }, "nothing is written yet");
}

#[test]
fn a_foreign_record_is_taken_when_it_has_been_still_for_its_own_duration() {
    let mut machine = machine();
    machine.observed(at(1_000), Source::Read, Some(held("go", 7)));
    let leader = Leader { identity: "go".to_owned(), address: None };
    assert_eq!(machine.leadership(at(1_000)), Leadership::Standby { leader: Some(leader) });
    // The record says 15 s, whatever our setting is; its own times say that it is decades old, which means nothing.
    machine.observed(at(14_000), Source::Read, Some(held("go", 7)));
    assert_eq!(machine.step(at(15_999), WALL), Step::Wait(at(16_000)));
    let (version, record) = replaces(machine.step(at(16_000), WALL));
    assert_eq!((version.as_str(), record.transitions), ("7", 4));
}

#[test]
fn the_lock_of_a_dead_predecessor_is_taken_at_once() {
    let me = |identity: &str| Candidate { identity: identity.to_owned(), address: "10.0.0.1:8082".to_owned() };
    let holder = |identity: &str, address: &str| {
        let mut sighting = held(identity, 7);
        sighting.record.address = Some(address.to_owned());
        sighting
    };
    let stands = |holder: Sighting| {
        let mut machine = Machine::new(me("pod-a_2"), Timing::default());
        machine.observed(at(0), Source::Read, Some(holder));
        (machine.leadership(at(0)), machine.step(at(10), WALL))
    };
    // A container that was killed and started again in its pod: name and address of the pod are its own.
    let (leadership, step) = stands(holder("pod-a_1", "10.0.0.1:8082"));
    assert_eq!(leadership, Leadership::Standby { leader: None }, "nothing is forwarded to ourselves");
    assert_eq!(replaces(step).0, "7");
    // The name or the address alone says nothing.
    for other in
        [holder("pod-a_1", "10.0.0.2:8082"), holder("pod-b_1", "10.0.0.1:8082"), holder("pod", "10.0.0.1:8082")]
    {
        let (leadership, step) = stands(other);
        assert!(matches!(leadership, Leadership::Standby { leader: Some(_) }), "{leadership:?}");
        assert_eq!(step, Step::Wait(at(4_000)));
    }
}

#[test]
fn a_renewal_starts_the_wait_anew() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, Some(held("go", 7)));
    machine.observed(at(14_000), Source::Watch, Some(held("go", 8)));
    assert_eq!(machine.step(at(16_000), WALL), Step::Wait(at(18_000)));
    machine.observed(at(18_000), Source::Watch, Some(held("go", 7)));
    assert_eq!(machine.step(at(18_000), WALL), Step::Read, "what is told late is no sign of life");
}

#[test]
fn a_released_lock_is_taken_at_once() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, Some(held("go", 7)));
    machine.observed(at(100), Source::Watch, Some(held("", 8)));
    let (version, record) = replaces(machine.step(at(100), WALL));
    assert_eq!((version.as_str(), record.transitions), ("8", 4));
}

#[test]
fn silence_is_looked_into() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, Some(held("go", 7)));
    assert_eq!(machine.step(at(10), WALL), Step::Wait(at(4_000)));
    assert_eq!(machine.step(at(4_000), WALL), Step::Read);
    machine.read_failed(at(4_100));
    assert_eq!(machine.step(at(4_100), WALL), Step::Wait(at(6_100)));
    assert_eq!(machine.step(at(6_100), WALL), Step::Read);
}

#[test]
fn a_leader_counts_from_when_it_sent() {
    let mut machine = leader();
    assert_eq!(machine.step(at(10), WALL), Step::Wait(at(2_000)));
    let (version, record) = replaces(machine.step(at(2_000), WALL));
    assert_eq!((version.as_str(), record.transitions), ("1", 0));
    // The answer is late; what counts is when the question left.
    machine.wrote(at(2_000), at(5_000), Ok(Sighting { record, version: "2".to_owned() }));
    assert_eq!(machine.leads_until(at(5_000)), Some(at(9_000)));
    assert_eq!(machine.leadership(at(8_999)), Leadership::Leading { term: 1 });
    assert_eq!(machine.leadership(at(9_000)), Leadership::Standby { leader: None });
}

#[test]
fn a_leader_without_answers_tries_on_and_then_leads_a_new_term() {
    let mut machine = leader();
    let (_, record) = replaces(machine.step(at(2_000), WALL));
    machine.wrote(at(2_000), at(5_500), Err(WriteFailure::Unknown));
    assert_eq!(machine.step(at(5_500), WALL), Step::Wait(at(6_000)));
    replaces(machine.step(at(6_000), WALL));
    assert!(!machine.leadership(at(7_000)).is_leading());
    machine.wrote(at(6_900), at(7_100), Ok(Sighting { record, version: "2".to_owned() }));
    assert_eq!(machine.leadership(at(7_100)), Leadership::Leading { term: 2 });
}

#[test]
fn a_leader_whose_lock_was_taken_ceases_at_once() {
    for source in [Source::Read, Source::Watch] {
        let mut machine = leader();
        machine.observed(at(3_000), source, Some(held("other", 5)));
        assert!(!machine.leadership(at(3_000)).is_leading());
    }
}

#[test]
fn a_leader_does_not_believe_old_news() {
    let mut machine = leader();
    let (_, record) = replaces(machine.step(at(2_000), WALL));
    machine.wrote(at(2_000), at(2_010), Ok(Sighting { record, version: "12".to_owned() }));
    assert!(!machine.observed(at(2_020), Source::Watch, Some(held("", 9))));
    assert!(machine.leadership(at(2_020)).is_leading());
}

#[test]
fn a_deleted_lock_is_made_anew_by_its_holder_and_left_alone_by_others() {
    let mut holder = leader();
    holder.observed(at(500), Source::Watch, None);
    assert_eq!(holder.step(at(500), WALL), Step::Read);
    holder.observed(at(510), Source::Read, None);
    assert!(matches!(holder.step(at(510), WALL), Step::Create(_)));
    assert!(holder.leadership(at(510)).is_leading());

    let mut other = machine();
    other.observed(at(0), Source::Read, Some(held("go", 7)));
    other.observed(at(2_000), Source::Read, None);
    assert_eq!(other.step(at(2_000), WALL), Step::Wait(at(6_000)));
    other.observed(at(16_000), Source::Read, None);
    assert_eq!(other.step(at(16_000), WALL), Step::Wait(at(17_000)), "the record said 15 s");
    assert!(matches!(other.step(at(17_000), WALL), Step::Create(_)));
}

#[test]
fn a_lock_that_was_made_and_deleted_unseen_is_left_alone() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, None);
    assert!(matches!(machine.step(at(0), WALL), Step::Create(_)));
    machine.wrote(at(0), at(20), Err(WriteFailure::Conflict));
    assert_eq!(machine.step(at(20), WALL), Step::Read);
    machine.observed(at(40), Source::Read, None);
    assert_eq!(machine.step(at(40), WALL), Step::Wait(at(4_040)));
    machine.observed(at(10_000), Source::Read, None);
    assert_eq!(machine.step(at(10_000), WALL), Step::Wait(at(10_020)), "whoever was faster may lead until then");
}

#[test]
fn a_creation_that_comes_late_is_no_right_to_lead() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, None);
    assert!(matches!(machine.step(at(0), WALL), Step::Create(_)));
    machine.wrote(at(0), at(3_500), Err(WriteFailure::Unknown));
    machine.observed(at(9_000), Source::Read, Some(held("me", 5)));
    assert_eq!(machine.step(at(9_000), WALL), Step::Wait(at(13_000)));
    machine.observed(at(18_000), Source::Read, Some(held("me", 5)));
    replaces(machine.step(at(19_000), WALL));
}

#[test]
fn a_conflict_is_read_and_then_waited_for() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, Some(held("", 7)));
    replaces(machine.step(at(0), WALL));
    machine.wrote(at(0), at(10), Err(WriteFailure::Conflict));
    assert_eq!(machine.step(at(10), WALL), Step::Read);
    machine.observed(at(20), Source::Read, Some(held("", 8)));
    assert_eq!(machine.step(at(20), WALL), Step::Wait(at(510)), "the other goes first");
    assert_eq!(replaces(machine.step(at(510), WALL)).0, "8");
}

#[test]
fn a_clean_stop_frees_the_lock() {
    let mut machine = leader();
    machine.resign(at(100), None);
    assert!(!machine.leadership(at(100)).is_leading(), "before anything is written");
    let (version, record) = replaces(machine.step(at(100), WALL));
    assert_eq!((version.as_str(), record.holder.clone(), record.transitions), ("1", None, 0));
    assert_eq!((record.duration, record.address.clone()), (Duration::from_secs(1), None));
    machine.wrote(at(100), at(110), Ok(Sighting { record, version: "2".to_owned() }));
    assert_eq!(machine.step(at(110), WALL), Step::Done);
}

#[test]
fn a_renewal_under_way_does_not_undo_a_stop() {
    let mut machine = leader();
    let (_, record) = replaces(machine.step(at(2_000), WALL));
    machine.resign(at(2_005), None);
    machine.wrote(at(2_000), at(2_010), Ok(Sighting { record, version: "2".to_owned() }));
    assert!(!machine.leadership(at(2_010)).is_leading());
    assert_eq!(replaces(machine.step(at(2_010), WALL)).0, "2");
}

#[test]
fn one_who_waits_may_simply_go() {
    let mut machine = machine();
    machine.observed(at(0), Source::Read, Some(held("go", 7)));
    machine.resign(at(100), None);
    assert_eq!(machine.step(at(100), WALL), Step::Done);
}

#[test]
fn one_who_steps_down_stands_again_later() {
    let mut machine = leader();
    machine.resign(at(100), Some(Duration::from_secs(5)));
    let (_, record) = replaces(machine.step(at(100), WALL));
    machine.wrote(at(100), at(110), Ok(Sighting { record, version: "2".to_owned() }));
    assert_eq!(machine.step(at(110), WALL), Step::Wait(at(5_100)));
    replaces(machine.step(at(5_100), WALL));
}
