//! Annotations by which operators speak to the controller.

use jiff::Timestamp;

use crate::condition::exporter::BY_HAND;

/// Annotation of an exporter: keeps it from being given out until this time (RFC 3339), or for as long as it is `true`.
pub const QUARANTINE: &str = "jumpstarter.dev/quarantine";
/// Annotation of an exporter: why it is quarantined by hand, for people.
pub const QUARANTINE_REASON: &str = "jumpstarter.dev/quarantine-reason";
/// Annotation of an exporter: any value that it did not have before lifts an automatic quarantine.
pub const LIFT_QUARANTINE: &str = "jumpstarter.dev/lift-quarantine";
/// Annotation of an exporter: any value that it did not have before asks for a check.
pub const CHECK: &str = "jumpstarter.dev/check";

/// When the quarantine ends that is told with this reason, if time ends it: what the annotation [`QUARANTINE`] says of one
/// by hand, what the status says of any other.
#[must_use]
pub fn quarantined_until(reason: &str, by_hand: Option<&str>, automatic: Option<Timestamp>) -> Option<Timestamp> {
    if reason == BY_HAND { by_hand.and_then(|value| value.trim().parse().ok()) } else { automatic }
}
