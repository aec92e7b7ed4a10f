//! What clients ask about leases: the rules behind ClientService and the legacy lease calls (protocol.md §1.8, §5.1).

mod create;
mod explain;
mod group;
mod hold;
mod update;
mod usage;
mod watch;

use std::sync::Arc;

use jumpstarter_model::{Client, Lease, condition};
use jumpstarter_protocol::client::v1 as client;
use tokio::sync::Semaphore;
use tonic::Status;

pub(crate) use self::{
    create::requested_lease,
    hold::Polls,
    update::LeaseUpdate,
    watch::{MAX_WATCHERS, WatchStream},
};
use crate::{
    config::ControllerConfig,
    convert,
    runtime::{EditError, LabHandle},
    status,
    world::World,
};

/// The lease part of the client's edge.
#[derive(Clone)]
pub(crate) struct LeaseCalls {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) lab: LabHandle,
    pub(crate) world: World,
    pub(crate) polls: Polls,
    /// Places of those who watch a lease.
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) stop: tokio_util::sync::CancellationToken,
}

/// Whether the service has decided about a lease, so that waiting tells nothing new.
pub(crate) fn is_decided(lease: &Lease) -> bool {
    lease.is_ended() || lease.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, "Ready"))
}

/// Whether the lease has an exporter that is getting ready.
fn is_preparing(lease: &Lease) -> bool {
    lease.assigned_exporter().is_some() && !is_decided(lease)
}

fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

impl LeaseCalls {
    /// Stores a new lease and waits a moment for the first decision, since old clients look again only after 5 s.
    pub(crate) async fn create(&self, lease: Lease) -> Result<Arc<Lease>, Status> {
        let name = name_of(&lease.metadata).to_owned();
        let changes = self.world.lease_topics.subscribe(&name);
        let created = self.lab.create_lease(lease).await.map_err(|error| status::refusal(&error))?;
        Ok(self.first_decision(Arc::new(created), changes).await)
    }

    /// One lease as a client sees it.
    pub(crate) async fn show(&self, lease: &Lease) -> client::Lease {
        self.show_all(&[Arc::new(lease.clone())], 1).await.remove(0)
    }

    /// Leases as clients see them, the first `explained` of the waiting ones with their place in the queue.
    pub(crate) async fn show_all(&self, leases: &[Arc<Lease>], explained: usize) -> Vec<client::Lease> {
        let waiting: Vec<String> = leases
            .iter()
            .filter(|lease| !is_decided(lease) && lease.assigned_exporter().is_none())
            .map(|lease| name_of(&lease.metadata).to_owned())
            .take(explained)
            .collect();
        let explained: std::collections::HashMap<String, _> = if waiting.is_empty() {
            std::collections::HashMap::new()
        } else {
            let explanations = self.lab.explain(waiting.clone()).await;
            waiting.into_iter().zip(explanations).collect()
        };
        let now = self.config.clock.now();
        leases
            .iter()
            .map(|lease| {
                let queue = explained.get(name_of(&lease.metadata)).and_then(Option::as_ref);
                convert::lease(&self.config, lease, queue, now)
            })
            .collect()
    }

    /// Marks a lease for release on behalf of its owner.
    pub(crate) async fn release(&self, caller: &Client, name: &str) -> Result<(), Status> {
        let owner = name_of(&caller.metadata).to_owned();
        let edit = Box::new(move |lease: &Lease, _: &_, _| {
            check_owner(lease, &owner)?;
            if lease.is_ended() || lease.spec.release == Some(true) {
                return Err(EditError::FailedPrecondition(format!(
                    "lease `{}` has already been released",
                    name_of(&lease.metadata)
                )));
            }
            let mut edited = lease.clone();
            edited.spec.release = Some(true);
            Ok(Some(edited))
        });
        self.lab.edit_lease(name, edit).await.map_err(|error| status::refusal(&error))?;
        tracing::info!(lease = name, "lease released by its client");
        Ok(())
    }
}

/// Refuses whoever does not own the lease.
pub(crate) fn check_owner(lease: &Lease, client: &str) -> Result<(), EditError> {
    if lease.spec.client_ref.name == client {
        return Ok(());
    }
    Err(EditError::PermissionDenied(format!(
        "lease `{}` belongs to client `{}`, not to `{client}`",
        name_of(&lease.metadata),
        lease.spec.client_ref.name
    )))
}
