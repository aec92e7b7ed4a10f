//! What the runtime tells the lab.

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow};

/// One observed fact. Level-triggered: each names the whole truth about one object, so that telling it twice, late or
/// while the object is being written is harmless.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// An exporter as it is now.
    Exporter(&'a Exporter),
    /// The exporter of this name is gone.
    ExporterDeleted(&'a str),
    /// A lease as it is now.
    Lease(&'a Lease),
    /// The lease of this name is gone.
    LeaseDeleted(&'a str),
    /// A policy as it is now.
    Policy(&'a ExporterAccessPolicy),
    /// The policy of this name is gone.
    PolicyDeleted(&'a str),
    /// A quota as it is now.
    Quota(&'a LeaseQuota),
    /// The quota of this name is gone.
    QuotaDeleted(&'a str),
    /// A maintenance window as it is now.
    Window(&'a MaintenanceWindow),
    /// The maintenance window of this name is gone.
    WindowDeleted(&'a str),
    /// A client as it is now.
    Client(&'a Client),
    /// The client of this name is gone.
    ClientDeleted(&'a str),
    /// Whether the exporter still owes a confirmed tear-down of an earlier lease; while it does, it is not given out.
    ///
    /// The lab itself assumes `pending: true` when it takes an exporter from a lease ([`End`](crate::Action::End) or
    /// [`Unclaim`](crate::Action::Unclaim)), so the runtime must say `pending: false` once the exporter is known to
    /// have left that lease, or at once when it never knew of it.
    TearDown {
        /// Name of the exporter.
        exporter: &'a str,
        /// Whether a tear-down is still owed.
        pending: bool,
    },
}
