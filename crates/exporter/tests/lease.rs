//! Decisions of the lease machine: a table of stories, and what holds in every story.
use jumpstarter_exporter::{Action, Assignment, Event, LeaseMachine, StopWhen};
use jumpstarter_protocol::v1::ExporterStatus;
use proptest::prelude::*;

fn assignment(lease: &str) -> Assignment {
    Assignment { lease: lease.to_owned(), client: "alice".to_owned() }
}

fn leased(lease: &str) -> Event {
    Event::Assigned(Some(assignment(lease)))
}

fn ready(lease: &str) -> Event {
    Event::Ready(lease.to_owned())
}

fn failed(lease: &str) -> Event {
    Event::Failed { lease: lease.to_owned(), message: "no device".to_owned() }
}

const FREE: Event = Event::Assigned(None);

/// One word an action: `start a`, `close`, `report LeaseReady`, `release a`, `exit`.
fn words(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::Start(assignment) => format!("start {}", assignment.lease),
        Action::Close => "close".to_owned(),
        Action::Report(status, _) => format!("report {status:?}"),
        Action::Release(lease) => format!("release {lease}"),
        Action::Exit => "exit".to_owned(),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(one_lease_only: bool, story: &[(Event, &str)]) {
    let mut machine = LeaseMachine::new(one_lease_only);
    for (n, (event, expected)) in story.iter().enumerate() {
        assert_eq!(words(&machine.handle(event.clone())), *expected, "step {n}: {event:?}");
    }
}

#[test]
fn a_plain_lease() {
    check(
        false,
        &[
            (FREE, ""),
            (leased("a"), "start a"),
            (leased("a"), ""),
            (ready("a"), "report LeaseReady"),
            (FREE, "close"),
            (FREE, ""),
            (Event::Closed, "report Available"),
            (leased("b"), "start b"),
        ],
    );
}

#[test]
fn a_jump_from_one_lease_to_another_ends_the_first_session() {
    check(
        false,
        &[
            (leased("a"), "start a"),
            (ready("a"), "report LeaseReady"),
            (leased("b"), "close"),
            (leased("c"), ""),
            (Event::Closed, "start c"),
            (ready("a"), ""),
            (ready("c"), "report LeaseReady"),
        ],
    );
}

#[test]
fn a_lease_that_ends_while_its_session_is_set_up() {
    check(
        false,
        &[
            (leased("a"), "start a"),
            (FREE, "close"),
            (ready("a"), ""),
            (failed("a"), ""),
            (Event::Closed, "report Available"),
        ],
    );
}

#[test]
fn a_session_that_cannot_be_set_up_gives_its_lease_back_once() {
    check(
        false,
        &[
            (leased("a"), "start a"),
            (failed("a"), "report BeforeLeaseHookFailed, release a"),
            (leased("a"), ""),
            (FREE, "report Available"),
            (leased("a"), "start a"),
            (failed("a"), "report BeforeLeaseHookFailed, release a"),
            (leased("b"), "start b"),
        ],
    );
}

#[test]
fn stopping() {
    check(false, &[(Event::Stop(StopWhen::Now), "exit"), (leased("a"), "")]);
    check(false, &[(Event::Stop(StopWhen::AfterLease), "exit")]);
    check(
        false,
        &[
            (leased("a"), "start a"),
            (ready("a"), "report LeaseReady"),
            (Event::Stop(StopWhen::AfterLease), ""),
            (FREE, "close"),
            (Event::Closed, "exit"),
        ],
    );
    check(
        false,
        &[
            (leased("a"), "start a"),
            (Event::Stop(StopWhen::AfterLease), ""),
            (Event::Stop(StopWhen::Now), "close"),
            (Event::Stop(StopWhen::AfterLease), ""),
            (Event::Closed, "exit"),
        ],
    );
    check(
        true,
        &[(leased("a"), "start a"), (ready("a"), "report LeaseReady"), (FREE, "close"), (Event::Closed, "exit")],
    );
}

fn event() -> impl Strategy<Value = Event> {
    let lease = prop_oneof![Just("a"), Just("b")];
    prop_oneof![
        4 => lease.clone().prop_map(leased),
        3 => Just(FREE),
        3 => lease.clone().prop_map(ready),
        1 => lease.prop_map(failed),
        3 => Just(Event::Closed),
        1 => prop_oneof![Just(StopWhen::Now), Just(StopWhen::AfterLease)].prop_map(Event::Stop),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one session at a time, AVAILABLE only without one, nothing after the exit.
    #[test]
    fn one_session_at_a_time(events in proptest::collection::vec(event(), 0..60)) {
        let mut machine = LeaseMachine::new(false);
        let (mut open, mut closing, mut exited) = (None::<String>, false, false);
        for event in events {
            // The outside answers only what it was asked: no session, no news of one.
            if matches!(event, Event::Closed) && !closing {
                continue;
            }
            if matches!(event, Event::Closed) {
                (open, closing) = (None, false);
            }
            for action in machine.handle(event.clone()) {
                prop_assert!(!exited, "{action:?} after the exit");
                match action {
                    Action::Start(next) => {
                        prop_assert_eq!(&open, &None, "started over an open session");
                        open = Some(next.lease);
                    }
                    Action::Close => {
                        prop_assert!(open.is_some() && !closing);
                        closing = true;
                    }
                    Action::Report(ExporterStatus::Available, _) => prop_assert_eq!(&open, &None),
                    Action::Report(ExporterStatus::LeaseReady, _) => {
                        prop_assert!(matches!(&event, Event::Ready(lease) if Some(lease) == open.as_ref() && !closing));
                    }
                    // A session that failed never came to be.
                    Action::Release(lease) => prop_assert_eq!(open.take(), Some(lease)),
                    Action::Report(..) => {}
                    Action::Exit => {
                        prop_assert_eq!(&open, &None);
                        exited = true;
                    }
                }
            }
        }
    }
}
