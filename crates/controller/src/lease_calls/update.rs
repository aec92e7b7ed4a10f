//! `UpdateLease`: times and owner (protocol.md §1.8, §10.3 row 12).

use jumpstarter_model::{
    Client, GoDuration, Lease, LeaseGroup, LocalObjectReference, Timestamp,
    lease_time::{self, Progress, TimeChange, TimeError},
    name::ClientName,
};
use jumpstarter_protocol::client::v1 as client;
use jumpstarter_scheduler::Lab;
use tonic::Status;

use super::{LeaseCalls, check_owner, name_of};
use crate::{
    convert,
    runtime::EditError,
    status::{self, invalid},
};

/// The fields that an update may name.
const FIELDS: [&str; 4] = ["duration", "begin_time", "end_time", "client"];

/// What an `UpdateLease` asks for.
#[derive(Clone)]
pub(crate) struct LeaseUpdate {
    times: TimeChange,
    new_owner: Option<ClientName>,
}

impl LeaseUpdate {
    /// Reads the request. With a mask the fields it names count; without one, those that are present.
    pub(crate) fn from_proto(lease: &client::Lease, mask: Option<&prost_types::FieldMask>) -> Result<Self, Status> {
        let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
        if let Some(unknown) = paths.iter().find(|path| *path != "*" && !FIELDS.contains(&path.as_str())) {
            let unknown: String = unknown.chars().take(64).collect();
            return Err(invalid(format!("update_mask names `{unknown}`, only {} can change", FIELDS.join(", "))));
        }
        let wanted = |field: &str| paths.is_empty() || paths.iter().any(|path| path == field || path == "*");
        let instant = |time: Option<prost_types::Timestamp>, field: &str| {
            time.filter(|_| wanted(field))
                .map(|time| convert::from_timestamp(time).ok_or_else(|| invalid(format!("{field} is out of range"))))
                .transpose()
        };
        let times = TimeChange {
            begin: instant(lease.begin_time, "begin_time")?,
            end: instant(lease.end_time, "end_time")?,
            duration: lease
                .duration
                .filter(|_| wanted("duration"))
                .map(|span| convert::from_duration(span).ok_or_else(|| invalid("duration is out of range")))
                .transpose()?,
        };
        let new_owner = lease
            .client
            .as_deref()
            .filter(|name| wanted("client") && !name.is_empty())
            .map(|name| name.parse::<ClientName>().map_err(invalid))
            .transpose()?;
        if paths.iter().any(|path| path != "*") && times.is_empty() && new_owner.is_none() {
            return Err(invalid(format!("update_mask names {}, which the lease does not carry", paths.join(", "))));
        }
        Ok(Self { times, new_owner })
    }
}

impl LeaseCalls {
    /// Changes a lease on behalf of its owner.
    pub(crate) async fn update(&self, caller: &Client, name: &str, update: LeaseUpdate) -> Result<Lease, Status> {
        let owner = name_of(&caller.metadata).to_owned();
        if let Some(new_owner) = &update.new_owner {
            if new_owner.namespace != self.config.namespace {
                return Err(status::permission_denied("a lease can only be transferred within its namespace"));
            }
            if self.world.client(&new_owner.name).is_none() {
                return Err(status::not_found("client", &new_owner.name));
            }
        }
        let edit = Box::new(move |lease: &Lease, lab: &Lab, now| edit(lease, &owner, &update, lab, now));
        self.lab.edit_lease(name, edit).await.map_err(|error| status::refusal(&error))
    }
}

fn edit(
    lease: &Lease,
    owner: &str,
    update: &LeaseUpdate,
    lab: &Lab,
    now: Timestamp,
) -> Result<Option<Lease>, EditError> {
    check_owner(lease, owner)?;
    let name = name_of(&lease.metadata);
    if lease.is_ended() || lease.spec.release == Some(true) {
        return Err(EditError::FailedPrecondition(format!("lease `{name}` has ended and cannot change")));
    }
    let mut edited = lease.clone();
    let begun = lease.status.as_ref().and_then(|status| status.begin_time.as_ref());
    let progress = match begun {
        Some(begin) if lease.assigned_exporter().is_some() => Progress::Running { begin: begin.0 },
        _ => Progress::Waiting { now },
    };
    let times = lease_time::update(&lease.spec, update.times, progress).map_err(|error| match error {
        TimeError::BeginFixed => EditError::FailedPrecondition(error.to_string()),
        _ => EditError::Invalid(error.to_string()),
    })?;
    let before = lease_time::requested_duration(&lease.spec).unwrap_or(GoDuration::ZERO);
    let mut wanted = before;
    if let Some(times) = times {
        times.store(&mut edited.spec);
        wanted = times.duration;
    }
    let moved = edited.spec.begin_time != lease.spec.begin_time && lease.assigned_exporter().is_none();
    if moved && LeaseGroup::name_of(&lease.metadata).is_some() {
        return Err(EditError::FailedPrecondition(format!(
            "lease `{name}` waits with its group, which begins together: its begin cannot change by itself"
        )));
    }
    if let Some(new_owner) = &update.new_owner
        && new_owner.name != owner
    {
        if lease.assigned_exporter().is_none() {
            return Err(EditError::FailedPrecondition(format!(
                "lease `{name}` has no exporter yet and cannot be transferred"
            )));
        }
        edited.spec.client_ref = LocalObjectReference::new(new_owner.name.clone());
    }
    if edited.spec == lease.spec {
        return Ok(None);
    }
    if times.is_some() {
        lab.check_times(&edited, now).map_err(|clash| EditError::FailedPrecondition(clash.to_string()))?;
    }
    // Policies hold for what a lease becomes, not only for what it was when it was granted.
    if let Some(exporter) = lease.assigned_exporter() {
        let transferred = edited.spec.client_ref != lease.spec.client_ref;
        if transferred || wanted > before {
            let client = &edited.spec.client_ref.name;
            let grant = lab
                .check_access(client, exporter, wanted)
                .map_err(|error| EditError::FailedPrecondition(error.to_string()))?;
            if let Some(limit) = lab.extension_limit(name, wanted).filter(|_| !transferred) {
                return Err(EditError::FailedPrecondition(format!("lease `{name}` cannot last for {wanted}: {limit}")));
            }
            let spot = lease.status.as_ref().and_then(|status| status.spot_access) == Some(true);
            if grant.spot && !spot {
                return Err(EditError::FailedPrecondition(format!(
                    "client `{client}` has only spot access to exporter `{exporter}`, and lease `{name}` holds it in full \
                     right"
                )));
            }
        }
    }
    Ok(Some(edited))
}
