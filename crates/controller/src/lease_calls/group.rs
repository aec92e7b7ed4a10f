//! `CreateLeaseGroup` and `DeleteLeaseGroup`: several leases that are served together.
//!
//! A group is its leases, and these are created one after the other. Whoever stops in between leaves a group that is not
//! complete: it is given nothing, and the core refuses it after a minute.

use std::{collections::BTreeSet, sync::Arc};

use jumpstarter_model::{Client, Lease, LeaseGroup, lease_group::MAX_GROUP};
use jumpstarter_protocol::client::v1 as client;
use tonic::Status;

use super::{LeaseCalls, name_of, requested_lease};
use crate::{
    runtime::{EditError, Refusal},
    status::{self, invalid},
};

/// What a `CreateLeaseGroup` asks for, with everything checked that needs no other object.
pub(crate) struct RequestedGroup {
    says: LeaseGroup,
    leases: Vec<Lease>,
}

impl LeaseCalls {
    /// Checks a request.
    pub(crate) fn requested_group(
        &self,
        asked: &client::CreateLeaseGroupRequest,
        owner: &Client,
    ) -> Result<RequestedGroup, Status> {
        let size = asked.leases.len();
        if size == 0 || size > MAX_GROUP {
            return Err(invalid(format!("a group has 1 to {MAX_GROUP} leases, got {size}")));
        }
        let id = match asked.group_id.as_str() {
            "" => uuid::Uuid::now_v7().to_string(),
            id => id.to_owned(),
        };
        let says = LeaseGroup::new(&id, size, asked.same.iter().cloned()).map_err(invalid)?;
        let mut leases = Vec::with_capacity(size);
        for (number, lease) in asked.leases.iter().enumerate() {
            let named = |status: Status| Status::new(status.code(), format!("lease {number}: {}", status.message()));
            let requested = requested_lease(&self.config, Some(lease.clone())).map_err(named)?;
            let mut lease = requested.into_object(&self.config, &format!("{id}-{number}"), owner).map_err(named)?;
            says.write(&mut lease.metadata);
            leases.push(lease);
        }
        if leases.iter().any(|lease| lease.spec.begin_time != leases[0].spec.begin_time) {
            return Err(invalid("the leases of a group begin together: give all of them the same begin_time, or none"));
        }
        let mut pinned = BTreeSet::new();
        if let Some(twice) = leases.iter().filter_map(Lease::pinned_exporter).find(|name| !pinned.insert(*name)) {
            return Err(invalid(format!("two leases of the group name exporter `{twice}`: it can serve only one")));
        }
        Ok(RequestedGroup { says, leases })
    }

    /// Creates all leases of a group, or none that stays.
    pub(crate) async fn create_group(&self, group: RequestedGroup) -> Result<client::LeaseGroup, Status> {
        let RequestedGroup { says, leases } = group;
        self.check_unused(&says, &leases)?;
        let known = leases.iter().map(|lease| self.world.lease(name_of(&lease.metadata)).is_some()).collect::<Vec<_>>();
        let topics = leases.iter().map(|lease| self.world.lease_topics.subscribe(name_of(&lease.metadata)));
        let topics = topics.collect::<Vec<_>>();
        let mut created = Vec::with_capacity(leases.len());
        for (lease, known) in leases.into_iter().zip(known) {
            let name = name_of(&lease.metadata).to_owned();
            match self.lab.create_lease(lease).await {
                Ok(lease) => created.push((Arc::new(lease), known)),
                Err(error) => {
                    // One whose outcome is not known may exist as well.
                    let ours = created.iter().filter(|(_, known)| !known);
                    let ours = ours.map(|(lease, _)| name_of(&lease.metadata).to_owned());
                    self.give_up(ours.chain((!known).then_some(name).filter(|_| is_unknown(&error)))).await;
                    return Err(status::refusal(&error));
                }
            }
        }
        let mut latest = Vec::with_capacity(created.len());
        for ((lease, _), changes) in created.into_iter().zip(topics) {
            latest.push(self.first_decision(lease, changes).await);
        }
        // What is decided last of one is news of all.
        let latest = latest.into_iter().map(|lease| self.world.lease(name_of(&lease.metadata)).unwrap_or(lease));
        let latest = latest.collect::<Vec<_>>();
        tracing::info!(group = says.name, leases = latest.len(), "lease group created");
        Ok(client::LeaseGroup { leases: self.show_all(&latest, latest.len()).await, name: says.name, same: says.same })
    }

    /// A name is used once, as long as leases of its group are kept; asking for the same again is asking again.
    fn check_unused(&self, says: &LeaseGroup, leases: &[Lease]) -> Result<(), Status> {
        let names = leases.iter().map(|lease| name_of(&lease.metadata)).collect::<BTreeSet<_>>();
        let objects = self.world.read();
        let stranger = objects.leases.iter().find(|(name, lease)| {
            LeaseGroup::name_of(&lease.metadata) == Some(&says.name) && !names.contains(name.as_str())
        });
        let taken = objects.leases.iter().find(|(name, lease)| {
            names.contains(name.as_str()) && LeaseGroup::of(&lease.metadata) != Some(Ok(says.clone()))
        });
        match stranger.or(taken) {
            None => Ok(()),
            Some((name, _)) => Err(status::refusal(&Refusal::Edit(EditError::AlreadyExists(format!(
                "there is the lease `{name}` of an earlier group `{}`, or of that name: choose another name for the group",
                says.name
            ))))),
        }
    }

    /// Takes back what was created of a group that cannot be completed. What cannot be taken back now is refused by the
    /// core before long.
    async fn give_up(&self, names: impl Iterator<Item = String>) {
        for name in names {
            let edit = Box::new(|lease: &Lease, _: &_, _| {
                let mut edited = lease.clone();
                edited.spec.release = Some(true);
                Ok((!lease.is_ended() && lease.spec.release != Some(true)).then_some(edited))
            });
            if let Err(error) = self.lab.edit_lease(&name, edit).await {
                tracing::warn!(lease = name, %error, "take back a lease of a group that cannot be completed");
            }
        }
    }

    /// Releases what the caller has of a group.
    pub(crate) async fn delete_group(&self, caller: &Client, group: &str) -> Result<(), Status> {
        let owner = name_of(&caller.metadata);
        let found = {
            let objects = self.world.read();
            let active = objects.active_leases.iter().filter_map(|name| objects.leases.get(name));
            let members = active.filter(|lease| LeaseGroup::name_of(&lease.metadata) == Some(group));
            members.cloned().collect::<Vec<_>>()
        };
        let ours = found.iter().filter(|lease| lease.spec.client_ref.name == owner).collect::<Vec<_>>();
        if ours.is_empty() {
            return Err(match found.first() {
                None => status::not_found("lease group", group),
                Some(lease) => status::permission_denied(format!(
                    "lease group `{group}` belongs to client `{}`, not to `{owner}`",
                    lease.spec.client_ref.name
                )),
            });
        }
        for lease in ours {
            match self.release(caller, name_of(&lease.metadata)).await {
                // It ended meanwhile, perhaps with the first of the group.
                Err(status) if status.code() == tonic::Code::FailedPrecondition => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Whether a write that failed may have been made.
fn is_unknown(error: &Refusal) -> bool {
    matches!(error, Refusal::Store(_) | Refusal::Stopping)
}
