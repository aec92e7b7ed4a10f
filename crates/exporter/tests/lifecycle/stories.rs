//! Stories: what happens, and what is done about it.
use jumpstarter_config::OnFailure::{EndLease, Exit, Warn};
use jumpstarter_exporter::{Assignment, Event, LeaseMachine, Plan, StopWhen};
use jumpstarter_protocol::v1::StatusResponse;

use super::{FREE, after, before, checked, closed, end, examined, leased, lingered, open_failed, opened, texts, words};

const PLAIN: Plan = Plan { before: None, check: None, after: None, one_lease_only: false };
const BOTH: Plan = Plan { before: Some(Warn), check: None, after: Some(Warn), one_lease_only: false };
const STOP: Event = Event::Stop(StopWhen::Now);
const STOP_LATER: Event = Event::Stop(StopWhen::AfterLease);

#[track_caller]
fn check(plan: Plan, story: &[(Event, &str)]) -> Vec<String> {
    let mut machine = LeaseMachine::new(plan);
    let mut said = Vec::new();
    for (n, (event, expected)) in story.iter().enumerate() {
        let actions = machine.handle(event.clone());
        assert_eq!(words(&actions), *expected, "step {n}: {event:?} in {}", machine.phase());
        said.extend(texts(&actions));
    }
    said
}

#[test]
fn a_plain_lease() {
    let said = check(
        PLAIN,
        &[
            (FREE, ""),
            (leased("a"), "open a/1"),
            (leased("a"), ""),
            (opened(1), "show LeaseReady, report LeaseReady"),
            (opened(1), ""),
            (FREE, "deaf, close 1"),
            (FREE, ""),
            (closed(1), "report Available"),
            (closed(1), ""),
            (leased("b"), "open b/2"),
        ],
    );
    assert_eq!(said, ["Ready for commands", "Available for new lease"]);
}

#[test]
fn hooks_surround_a_session_that_its_client_ends() {
    let said = check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (Event::Dialled, ""),
            (before(1, None), "show LeaseReady, report LeaseReady"),
            (end(1), "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice"),
            (end(1), ""),
            (after(1, None), "show Available, linger"),
            (after(1, None), ""),
            (lingered(1), "release a"),
            (FREE, "deaf, close 1"),
            (closed(1), "report Available"),
        ],
    );
    assert_eq!(
        said,
        ["Running beforeLease hook", "Ready for commands", "Running afterLease hooks", "Available for new lease"]
    );
}

#[test]
fn hooks_surround_a_session_whose_lease_ends() {
    check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, None), "show LeaseReady, report LeaseReady"),
            (FREE, "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice, deaf"),
            (end(1), ""),
            (after(1, None), "close 1"),
            (closed(1), "report Available"),
        ],
    );
    // While the first hook runs: it goes on to its end, and the lease never becomes ready.
    check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (FREE, "deaf"),
            (before(1, None), "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice"),
            (after(1, None), "close 1"),
            (closed(1), "report Available"),
        ],
    );
    // While the last hook runs.
    check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (end(1), ""),
            (before(1, None), "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice"),
            (FREE, "deaf"),
            (leased("b"), ""),
            (after(1, None), "close 1"),
            (closed(1), "open b/2"),
        ],
    );
}

#[test]
fn hooks_that_fail_with_a_warning() {
    let said = check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, Some("x")), "show LeaseReady, report LeaseReady"),
            (end(1), "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice"),
            (after(1, Some("y")), "show Available, linger"),
            (FREE, "deaf"),
            (lingered(1), "close 1"),
            (closed(1), "report Available"),
        ],
    );
    assert_eq!(said[1], "[HOOK_WARNING] beforeLease hook warning: x");
    assert_eq!(said[3], "[HOOK_WARNING] afterLease hook warning: y");
}

#[test]
fn hooks_that_end_the_lease() {
    let plan = Plan { before: Some(EndLease), check: None, after: Some(EndLease), one_lease_only: false };
    let said = check(
        plan,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, Some("x")), "show BeforeLeaseHookFailed, report BeforeLeaseHookFailed, linger"),
            (Event::Dialled, ""),
            (lingered(1), "release a"),
            // The controller repeats itself, perhaps after a restart that lost the release.
            (leased("a"), "release a"),
            (FREE, "deaf, close 1"),
            (closed(1), "report Available"),
            (leased("b"), "open b/2"),
            (opened(2), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(2, None), "show LeaseReady, report LeaseReady"),
            (FREE, "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice, deaf"),
            (after(2, Some("y")), "show AfterLeaseHookFailed, report AfterLeaseHookFailed, linger"),
            (lingered(2), "close 2"),
            (closed(2), "report Available"),
        ],
    );
    assert_eq!(said[1], "beforeLease hook failed (on_failure=endLease): x");
    assert_eq!(said[6], "afterLease hook failed (on_failure=endLease): y");
}

#[test]
fn hooks_that_end_the_exporter() {
    let plan = Plan { before: Some(Exit), check: None, after: Some(Exit), one_lease_only: false };
    let said = check(
        plan,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, Some("x")), "show BeforeLeaseHookFailed, report BeforeLeaseHookFailed, linger"),
            (lingered(1), "report Offline, release a, deaf, close 1"),
            (FREE, ""),
            (closed(1), "exit for hook"),
            (leased("b"), ""),
        ],
    );
    assert_eq!(
        said[1..],
        [
            "beforeLease hook failed (on_failure=exit, shutting down): x",
            "Exporter shutting down due to beforeLease hook failure",
            "beforeLease hook failed (on_failure=exit, shutting down): x",
        ]
    );
    check(
        plan,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, None), "show LeaseReady, report LeaseReady"),
            (FREE, "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice, deaf"),
            (after(1, Some("x")), "show AfterLeaseHookFailed, report AfterLeaseHookFailed, linger"),
            (leased("b"), ""),
            (lingered(1), "report Offline, close 1"),
            (closed(1), "exit for hook"),
        ],
    );
}

#[test]
fn several_sessions_in_one_lease() {
    check(
        PLAIN,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show LeaseReady, report LeaseReady"),
            (Event::Dialled, ""),
            // The controller goes on to send clients: the lease can be used again.
            (end(1), "show Available"),
            (end(1), ""),
            (Event::Dialled, "close 1"),
            (Event::Dialled, ""),
            (closed(1), "open a/2"),
            (opened(2), "show LeaseReady, report LeaseReady"),
            (end(1), ""),
            (end(2), "show Available"),
            (FREE, "deaf, close 2"),
            (closed(2), "report Available"),
        ],
    );
}

#[test]
fn a_jump_from_one_lease_to_another_ends_the_first_session() {
    check(
        PLAIN,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show LeaseReady, report LeaseReady"),
            (leased("b"), "deaf, close 1"),
            (leased("c"), ""),
            (closed(1), "open c/2"),
            (opened(1), ""),
            (opened(2), "show LeaseReady, report LeaseReady"),
        ],
    );
}

#[test]
fn a_lease_that_ends_while_its_session_is_set_up() {
    check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (FREE, "deaf, close 1"),
            (opened(1), ""),
            (open_failed(1), ""),
            (closed(1), "report Available"),
        ],
    );
}

#[test]
fn a_session_that_cannot_be_set_up_gives_its_lease_back() {
    let said = check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (open_failed(1), "report BeforeLeaseHookFailed, release a, deaf"),
            (FREE, "report Available"),
            (leased("b"), "open b/2"),
            (open_failed(2), "report BeforeLeaseHookFailed, release b, deaf"),
            (leased("c"), "open c/3"),
        ],
    );
    assert_eq!(said[0], "no device");
}

#[test]
fn a_transferred_lease_is_told_to_the_last_hook() {
    let transferred =
        Event::Assigned(Some(Assignment { lease: "a".to_owned(), client: "bob".to_owned(), check: false }));
    check(
        BOTH,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, None), "show LeaseReady, report LeaseReady"),
            (transferred, ""),
            (end(1), "show AfterLeaseHook, report AfterLeaseHook, run afterLease for bob"),
        ],
    );
}

#[test]
fn stopping() {
    check(PLAIN, &[(STOP, "exit"), (leased("a"), "")]);
    check(PLAIN, &[(STOP_LATER, "exit")]);
    check(
        PLAIN,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show LeaseReady, report LeaseReady"),
            (STOP_LATER, ""),
            (FREE, "deaf, close 1"),
            (closed(1), "exit"),
        ],
    );
    check(
        PLAIN,
        &[(leased("a"), "open a/1"), (STOP_LATER, ""), (STOP, "deaf, close 1"), (STOP_LATER, ""), (closed(1), "exit")],
    );
    let once = Plan { one_lease_only: true, ..PLAIN };
    check(
        once,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show LeaseReady, report LeaseReady"),
            (end(1), "show Available"),
            (FREE, "deaf, close 1"),
            (closed(1), "exit after lease"),
        ],
    );
}

#[test]
fn a_stop_cuts_the_first_hook_short_and_runs_the_last_one() {
    let plan = Plan { before: Some(Exit), check: None, after: Some(Warn), one_lease_only: false };
    check(
        plan,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (STOP, "cancel hook, deaf"),
            (before(1, Some("cancelled")), "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice"),
            (STOP, ""),
            (after(1, None), "close 1"),
            (closed(1), "exit"),
        ],
    );
}

#[test]
fn a_check_comes_after_what_is_done_for_every_lease() {
    let plan = Plan { check: Some(EndLease), ..BOTH };
    let said = check(
        plan,
        &[
            (leased("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, None), "show LeaseReady, report LeaseReady"),
            (FREE, "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice, deaf"),
            (after(1, None), "close 1"),
            (closed(1), "report Available"),
            (checked("b"), "open b/2"),
            (opened(2), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (examined(2, None), ""),
            (before(2, None), "show BeforeLeaseHook, report BeforeLeaseHook, run check for alice"),
            (before(2, None), ""),
            (examined(2, None), "show LeaseReady, report LeaseReady"),
            (FREE, "show AfterLeaseHook, report AfterLeaseHook, run afterLease for alice, deaf"),
            (after(2, None), "close 2"),
            (closed(2), "report Available"),
            (checked("c"), "open c/3"),
            (opened(3), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(3, None), "show BeforeLeaseHook, report BeforeLeaseHook, run check for alice"),
            (examined(3, Some("x")), "show BeforeLeaseHookFailed, report BeforeLeaseHookFailed, linger"),
            (lingered(3), "release c"),
            (FREE, "deaf, close 3"),
            (closed(3), "report Available"),
        ],
    );
    assert_eq!(said[5], "Running check hook");
    assert_eq!(said[11], "check hook failed (on_failure=endLease): x");
}

#[test]
fn a_check_does_without_other_hooks_and_not_after_a_hook_that_failed() {
    let alone = Plan { check: Some(EndLease), ..PLAIN };
    check(
        alone,
        &[
            (checked("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run check for alice"),
            (STOP, "cancel hook, deaf"),
            (examined(1, Some("cancelled")), "close 1"),
            (closed(1), "exit"),
        ],
    );
    let strict = Plan { before: Some(EndLease), ..alone };
    check(
        strict,
        &[
            (checked("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (before(1, Some("x")), "show BeforeLeaseHookFailed, report BeforeLeaseHookFailed, linger"),
            (lingered(1), "release a"),
        ],
    );
    // Whoever has the lease no more needs no check.
    check(
        strict,
        &[
            (checked("a"), "open a/1"),
            (opened(1), "show BeforeLeaseHook, report BeforeLeaseHook, run beforeLease for alice"),
            (FREE, "deaf"),
            (before(1, None), "close 1"),
        ],
    );
}

#[test]
fn only_a_lease_of_the_service_is_a_check() {
    let told = |client: &str, purpose: &str| {
        let context = [("jumpstarter.dev/maintenance".to_owned(), purpose.to_owned())].into();
        let (lease_name, client_name) = (Some("a".to_owned()), Some(client.to_owned()));
        Assignment::told(StatusResponse { leased: true, lease_name, client_name, context, ..StatusResponse::default() })
    };
    for (client, purpose, expected) in [
        ("jumpstarter-maintenance", "check", true),
        ("jumpstarter-maintenance", "update", false),
        ("alice", "check", false),
    ] {
        assert_eq!(told(client, purpose).unwrap().check, expected, "{client} {purpose}");
    }
    assert_eq!(Assignment::told(StatusResponse { leased: true, ..StatusResponse::default() }), None);
}
