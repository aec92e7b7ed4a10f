//! Annotations by which operators speak to the controller.

/// Annotation of an exporter: keeps it from being given out until this time (RFC 3339), or for as long as it is `true`.
pub const QUARANTINE: &str = "jumpstarter.dev/quarantine";
/// Annotation of an exporter: why it is quarantined by hand, for people.
pub const QUARANTINE_REASON: &str = "jumpstarter.dev/quarantine-reason";
/// Annotation of an exporter: any value that it did not have before lifts an automatic quarantine.
pub const LIFT_QUARANTINE: &str = "jumpstarter.dev/lift-quarantine";
/// Annotation of an exporter: any value that it did not have before asks for a check.
pub const CHECK: &str = "jumpstarter.dev/check";
