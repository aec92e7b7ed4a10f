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

/// The last failures, the latest first. What the same is said of in a row is said once.
fn failures(health: Option<&ExporterHealth>) -> String {
    let failures = health.into_iter().flat_map(|health| &health.failures).rev().take(NAMED);
    let mut said = "";
    let mut sentences = Vec::new();
    for failure in failures {
        let mut text = failure.reason.clone();
        if !failure.lease.is_empty() {
            text = format!("{text} of lease {}", failure.lease);
        }
        if let Some(time) = &failure.time {
            text = format!("{text} at {}", time.0);
        }
        let again = std::mem::replace(&mut said, &failure.message) == failure.message;
        sentences.push(if again || failure.message.is_empty() {
            text
        } else {
            format!("{text} ({})", failure.message)
        });
    }
    sentences.join("; ")
}

#[cfg(test)]
mod tests {
    use jumpstarter_model::LeaseFailure;

    use super::*;

    #[test]
    fn what_every_failure_says_is_said_once() {
        let failure = |lease: &str, message: &str| LeaseFailure {
            lease: lease.to_owned(),
            reason: "BeforeLeaseHookFailed".to_owned(),
            message: message.to_owned(),
            ..LeaseFailure::default()
        };
        let told = |messages: [&str; 4]| {
            let failures = ["a", "b", "c", "d"].into_iter().zip(messages).map(|(lease, text)| failure(lease, text));
            let health = ExporterHealth { failures: failures.collect(), ..ExporterHealth::default() };
            super::failures(Some(&health)).replace("BeforeLeaseHookFailed of lease ", "")
        };
        assert_eq!(told(["x", "x", "x", "x"]), "d (x); c; b");
        assert_eq!(told(["x", "y", "x", "x"]), "d (x); c; b (y)");
        assert_eq!(told(["", "x", "", ""]), "d; c; b (x)");
        assert_eq!(told(["", "", "x", ""]), "d; c (x); b");
    }
}
