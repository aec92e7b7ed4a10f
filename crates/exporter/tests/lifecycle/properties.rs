//! What holds whatever comes in, in whatever order.
use std::collections::HashMap;

use jumpstarter_config::OnFailure;
use jumpstarter_exporter::{Action, Event, HookKind, LeaseMachine, Plan, SessionId, StopWhen};
use jumpstarter_protocol::v1::ExporterStatus;
use proptest::prelude::*;

use super::{FREE, checked, leased};

/// What the outside may do next; what needs an answer is answered only when it was asked for.
#[derive(Debug, Clone, Copy)]
enum Step {
    Lease(u8),
    Free,
    Answer(bool),
    End,
    Dial,
    Lingered,
    Stop(StopWhen),
    /// News of a session of long ago.
    Stale(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Lease),
        3 => Just(Step::Free),
        8 => any::<bool>().prop_map(Step::Answer),
        2 => Just(Step::End),
        2 => Just(Step::Dial),
        3 => Just(Step::Lingered),
        1 => prop_oneof![Just(StopWhen::Now), Just(StopWhen::AfterLease)].prop_map(Step::Stop),
        1 => (0..4_u8).prop_map(Step::Stale),
    ]
}

fn failure() -> impl Strategy<Value = Option<OnFailure>> {
    prop_oneof![Just(None), Just(Some(OnFailure::Warn)), Just(Some(OnFailure::EndLease)), Just(Some(OnFailure::Exit))]
}

/// What was asked for and not answered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Due {
    Open,
    Hook(HookKind),
    Close,
}

#[derive(Debug, Default)]
struct Seen {
    opened: u32,
    closed: u32,
    before: u32,
    checks: u32,
    after: u32,
    set_up: bool,
    failed: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_session_at_a_time_and_each_is_torn_down_once(
        steps in proptest::collection::vec(step(), 0..80),
        before in failure(),
        check in failure(),
        after in failure(),
        one_lease_only in any::<bool>(),
    ) {
        let mut machine = LeaseMachine::new(Plan { before, check, after, one_lease_only });
        let mut due: Option<(SessionId, Due)> = None;
        let mut open: Option<SessionId> = None;
        let mut lingering = None;
        let mut exited = false;
        let mut sessions: HashMap<SessionId, Seen> = HashMap::new();
        for step in steps {
            let event = match step {
                // One of them is the service's own.
                Step::Lease(2) => checked("lease-2"),
                Step::Lease(n) => leased(&format!("lease-{n}")),
                Step::Free => FREE,
                Step::Dial => Event::Dialled,
                Step::Stop(when) => Event::Stop(when),
                Step::Stale(n) => match n {
                    0 => Event::Opened(SessionId(0)),
                    1 => Event::Closed(SessionId(0)),
                    2 => Event::EndSession(SessionId(0)),
                    _ => Event::HookEnded(SessionId(0), HookKind::AfterLease, None),
                },
                Step::End => match open { Some(id) => Event::EndSession(id), None => continue },
                Step::Lingered => match lingering.take() { Some(id) => Event::Lingered(id), None => continue },
                Step::Answer(fine) => match due.take() {
                    None => continue,
                    Some((id, Due::Open)) => {
                        let seen = sessions.get_mut(&id).unwrap();
                        if fine {
                            seen.set_up = true;
                            Event::Opened(id)
                        } else {
                            // It never came to be.
                            seen.closed += 1;
                            open = None;
                            Event::OpenFailed(id, "broken".to_owned())
                        }
                    }
                    Some((id, Due::Hook(kind))) => {
                        let seen = sessions.get_mut(&id).unwrap();
                        if kind != HookKind::AfterLease {
                            let on_failure = if kind == HookKind::Check { check } else { before };
                            seen.set_up = fine || on_failure == Some(OnFailure::Warn);
                            seen.failed = !seen.set_up;
                        }
                        Event::HookEnded(id, kind, (!fine).then(|| "broken".to_owned()))
                    }
                    Some((id, Due::Close)) => {
                        sessions.get_mut(&id).unwrap().closed += 1;
                        open = None;
                        Event::Closed(id)
                    }
                },
            };
            for action in machine.handle(event.clone()) {
                prop_assert!(!exited, "{:?} after the exit", action);
                match action {
                    Action::Open(id, _) => {
                        prop_assert_eq!(open, None, "opened over an open session");
                        open = Some(id);
                        let seen = sessions.entry(id).or_default();
                        seen.opened += 1;
                        prop_assert_eq!(seen.opened, 1, "an identifier was used twice");
                        due = Some((id, Due::Open));
                    }
                    Action::RunHook(id, kind, holder) => {
                        prop_assert_eq!(open, Some(id));
                        prop_assert_eq!(due, None, "a hook beside other work");
                        let seen = sessions.get_mut(&id).unwrap();
                        match kind {
                            HookKind::BeforeLease => seen.before += 1,
                            HookKind::Check => {
                                prop_assert!(holder.check && seen.before == u32::from(before.is_some()), "{:?}", seen);
                                seen.checks += 1;
                            }
                            HookKind::AfterLease => seen.after += 1,
                        }
                        seen.set_up &= kind == HookKind::AfterLease;
                        due = Some((id, Due::Hook(kind)));
                    }
                    Action::Close(id) => {
                        prop_assert_eq!(open, Some(id));
                        prop_assert!(!matches!(due, Some((_, Due::Hook(_) | Due::Close))), "closed under {:?}", due);
                        due = Some((id, Due::Close));
                    }
                    Action::Report(ExporterStatus::Available, _) => prop_assert_eq!(open, None),
                    Action::Report(ExporterStatus::LeaseReady, _) => prop_assert!(open.is_some()),
                    Action::Linger(id) => {
                        prop_assert_eq!(open, Some(id));
                        lingering = Some(id);
                    }
                    Action::Exit(_) => {
                        prop_assert_eq!(open, None);
                        exited = true;
                    }
                    Action::Show(id, ..) => prop_assert_eq!(open, Some(id)),
                    Action::CancelHook(id) => prop_assert_eq!(open, Some(id)),
                    Action::Report(..) | Action::StopListening | Action::Release(_) => {}
                }
            }
        }
        for (id, seen) in sessions {
            let still_open = open == Some(id);
            prop_assert_eq!(seen.closed, u32::from(!still_open), "{:?}", seen);
            prop_assert!(seen.before <= 1 && seen.checks <= 1 && seen.after <= 1, "{:?}", seen);
            if !still_open && seen.set_up && after.is_some() && (seen.before == 1 || before.is_none()) {
                prop_assert!(seen.after == 1 || before.is_none(), "no tear-down after a set-up: {:?}", seen);
            }
        }
    }
}
