//! Decisions of the lease machine: tables of stories, what holds in every story, and a simulated lab.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod properties;
mod simulation;
mod stories;

use jumpstarter_exporter::{Action, Assignment, Event, ExitReason, HookKind, SessionId};

fn assignment(lease: &str) -> Assignment {
    Assignment { lease: lease.to_owned(), client: "alice".to_owned(), check: false }
}

fn leased(lease: &str) -> Event {
    Event::Assigned(Some(assignment(lease)))
}

/// The service wants to know whether the exporter works.
fn checked(lease: &str) -> Event {
    Event::Assigned(Some(Assignment { check: true, ..assignment(lease) }))
}

const FREE: Event = Event::Assigned(None);

fn opened(id: u64) -> Event {
    Event::Opened(SessionId(id))
}

fn open_failed(id: u64) -> Event {
    Event::OpenFailed(SessionId(id), "no device".to_owned())
}

fn closed(id: u64) -> Event {
    Event::Closed(SessionId(id))
}

fn end(id: u64) -> Event {
    Event::EndSession(SessionId(id))
}

fn lingered(id: u64) -> Event {
    Event::Lingered(SessionId(id))
}

fn before(id: u64, failure: Option<&str>) -> Event {
    Event::HookEnded(SessionId(id), HookKind::BeforeLease, failure.map(str::to_owned))
}

fn examined(id: u64, failure: Option<&str>) -> Event {
    Event::HookEnded(SessionId(id), HookKind::Check, failure.map(str::to_owned))
}

fn after(id: u64, failure: Option<&str>) -> Event {
    Event::HookEnded(SessionId(id), HookKind::AfterLease, failure.map(str::to_owned))
}

/// A few words an action, such as `open a/1`, `show LeaseReady`, `report LeaseReady`, `close 1`.
fn words(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::Open(id, holder) => format!("open {}/{}", holder.lease, id.0),
        Action::RunHook(_, kind, holder) => format!("run {} for {}", kind.name(), holder.client),
        Action::CancelHook(_) => "cancel hook".to_owned(),
        Action::Show(_, status, _) => format!("show {status:?}"),
        Action::Report(status, _) => format!("report {status:?}"),
        Action::Linger(_) => "linger".to_owned(),
        Action::StopListening => "deaf".to_owned(),
        Action::Close(id) => format!("close {}", id.0),
        Action::Release(lease) => format!("release {lease}"),
        Action::Exit(ExitReason::Stopped) => "exit".to_owned(),
        Action::Exit(ExitReason::LeaseEnded) => "exit after lease".to_owned(),
        Action::Exit(ExitReason::HookFailed(_)) => "exit for hook".to_owned(),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// The texts that go with the reports and the end.
fn texts(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Report(_, text) | Action::Exit(ExitReason::HookFailed(text)) => Some(text.clone()),
            _ => None,
        })
        .collect()
}
