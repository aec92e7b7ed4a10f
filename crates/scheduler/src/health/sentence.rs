//! What people are told of a quarantine.

use jumpstarter_model::{ExporterHealth, Timestamp, condition::exporter as reason};

use crate::action::{LiftCause, QuarantineCause};

/// Failures that a message names.
const NAMED: usize = 3;

/// Reason and message of `Quarantined` true.
pub(crate) fn quarantined(
    health: Option<&ExporterHealth>,
    cause: &QuarantineCause,
    until: Option<Timestamp>,
) -> (&'static str, String) {
    let until = until.map_or("until somebody lifts it".to_owned(), |until| format!("until {until}"));
    match cause {
        QuarantineCause::ByHand { why } if why.is_empty() => {
            (reason::BY_HAND, format!("Quarantined by an operator {until}"))
        }
        QuarantineCause::ByHand { why } => (reason::BY_HAND, format!("Quarantined by an operator {until}: {why}")),
        QuarantineCause::Failures => {
            (failures_reason(health), format!("Quarantined {until}, since leases failed: {}", failures(health)))
        }
        QuarantineCause::Check => {
            (reason::CHECK_FAILED, format!("Quarantined {until}, since a check did not pass: {}", failures(health)))
        }
    }
}

/// Message of `Quarantined` false, `QuarantineLimited`.
pub(crate) fn stays(health: Option<&ExporterHealth>) -> String {
    format!(
        "Stays in service although leases failed, since as many others are quarantined as may be: {}",
        failures(health)
    )
}

/// Reason and message of `Quarantined` false.
pub(crate) fn over(cause: LiftCause) -> (&'static str, &'static str) {
    match cause {
        LiftCause::ByHand => (reason::BY_HAND, "The quarantine was lifted by an operator"),
        LiftCause::CheckPassed => (reason::CHECK_PASSED, "A check has passed"),
        LiftCause::Over => (reason::QUARANTINE_OVER, "The quarantine is over"),
        LiftCause::Recovered => (reason::RECOVERED, "Leases go well again"),
    }
}

fn failures_reason(health: Option<&ExporterHealth>) -> &'static str {
    let mut failures = health.into_iter().flat_map(|health| &health.failures).rev().take(NAMED);
    if failures.all(|failure| failure.reason.ends_with("HookFailed")) {
        reason::HOOK_FAILURES
    } else {
        reason::LEASE_FAILURES
    }
}

/// The last failures, the latest first.
fn failures(health: Option<&ExporterHealth>) -> String {
    let failures = health.into_iter().flat_map(|health| &health.failures).rev().take(NAMED);
    let sentence = |failure: &jumpstarter_model::LeaseFailure| {
        let mut text = failure.reason.clone();
        if !failure.lease.is_empty() {
            text = format!("{text} of lease {}", failure.lease);
        }
        if let Some(time) = &failure.time {
            text = format!("{text} at {}", time.0);
        }
        if failure.message.is_empty() { text } else { format!("{text} ({})", failure.message) }
    };
    failures.map(sentence).collect::<Vec<_>>().join("; ")
}
