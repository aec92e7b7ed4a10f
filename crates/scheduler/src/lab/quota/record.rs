//! What a lease means to quotas: who had which exporter, and when.

use jumpstarter_model::{Lease, Timestamp};

use super::super::names::Name;

/// A lease that holds an exporter, or held one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client: Name,
    pub(crate) exporter: Name,
    pub(crate) begin: Timestamp,
    /// When it ended, or will at the latest.
    pub(crate) end: Timestamp,
    /// Whether it still holds the exporter.
    pub(crate) runs: bool,
}

impl Record {
    /// Of an ended lease; `None` if it never began.
    pub(crate) fn of_ended(lease: &Lease) -> Option<Self> {
        let status = lease.status.as_ref()?;
        Some(Self {
            client: lease.spec.client_ref.name.as_str().into(),
            exporter: lease.assigned_exporter()?.into(),
            begin: status.begin_time.as_ref()?.0,
            end: status.end_time.as_ref()?.0,
            runs: false,
        })
    }
}
