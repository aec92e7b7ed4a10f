//! The Lease object behind an election.

use std::{fmt, future::Future, time::Duration};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::PostParams,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::time::timeout;
use tracing::debug;

use crate::{Record, Sighting};

/// Who writes, as Kubernetes keeps it beside each field.
const FIELD_MANAGER: &str = "jumpstarter-controller";

/// The object as the API server sent it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) sighting: Sighting,
    lease: Lease,
}

impl Seen {
    fn new(lease: Lease) -> Self {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        Self { sighting: Sighting { record: Record::from_lease(&lease), version }, lease }
    }
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The object is not what the write was for.
    #[error("the object had changed")]
    Conflict,
    /// No answer in time.
    #[error("the API server has not answered within {0:?}")]
    Late(Duration),
    /// Anything else.
    #[error("{}", explain(.0))]
    Refused(Box<kube::Error>),
}

/// One Lease object, and its last known content.
pub(super) struct Lock {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    limit: Duration,
    kept: Option<Lease>,
}

impl Lock {
    pub(super) fn new(client: kube::Client, namespace: String, name: String, limit: Duration) -> Self {
        Self { leases: Api::namespaced(client, &namespace), namespace, name, limit, kept: None }
    }

    /// Remembers what is in the object beside the record, so that writes leave it alone.
    pub(super) fn keep(&mut self, seen: Seen) {
        self.kept = Some(seen.lease);
    }

    pub(super) fn read(&self) -> impl Future<Output = Result<Option<Seen>, CallError>> + Send + 'static {
        let (leases, name) = (self.leases.clone(), self.name.clone());
        self.call(async move { leases.get_opt(&name).await })
    }

    pub(super) fn create(
        &self,
        record: &Record,
    ) -> impl Future<Output = Result<Option<Seen>, CallError>> + Send + 'static {
        let lease = record.to_new_lease(&self.namespace, &self.name);
        let leases = self.leases.clone();
        self.call(async move { leases.create(&parameters(), &lease).await.map(Some) })
    }

    pub(super) fn replace(
        &self,
        version: String,
        record: &Record,
    ) -> impl Future<Output = Result<Option<Seen>, CallError>> + Send + 'static {
        let mut lease = self.kept.clone().unwrap_or_else(|| record.to_new_lease(&self.namespace, &self.name));
        record.write_to(&mut lease);
        lease.metadata.resource_version = Some(version);
        lease.metadata.managed_fields = None;
        let (leases, name) = (self.leases.clone(), self.name.clone());
        self.call(async move { leases.replace(&name, &parameters(), &lease).await.map(Some) })
    }

    fn call(
        &self,
        call: impl Future<Output = kube::Result<Option<Lease>>> + Send + 'static,
    ) -> impl Future<Output = Result<Option<Seen>, CallError>> + Send + 'static {
        let limit = self.limit;
        async move {
            match timeout(limit, call).await {
                Err(_) => Err(CallError::Late(limit)),
                Ok(Ok(lease)) => Ok(lease.map(Seen::new)),
                // Gone, or there already: as much a change as another version.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(CallError::Conflict),
                Ok(Err(error)) => Err(CallError::Refused(Box::new(error))),
            }
        }
    }

    /// Changes of the object as a watch tells them; `None` when it is gone. Never ends; without a watch it is silent,
    /// and reads take its place.
    pub(super) fn changes(&self) -> impl Stream<Item = Option<Seen>> + Send + 'static {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        // Whether the object is there, as far as told, and whether the list under way has it.
        let (mut present, mut listed) = (false, false);
        watcher(self.leases.clone(), config).default_backoff().filter_map(move |event| {
            let change = match event {
                Ok(watcher::Event::Init) => {
                    listed = false;
                    None
                }
                Ok(watcher::Event::InitApply(lease)) => {
                    (present, listed) = (true, true);
                    Some(Some(Seen::new(lease)))
                }
                Ok(watcher::Event::InitDone) => {
                    let gone = present && !listed;
                    present = listed;
                    gone.then_some(None)
                }
                Ok(watcher::Event::Delete(_)) => {
                    present = false;
                    Some(None)
                }
                Ok(watcher::Event::Apply(lease)) => {
                    present = true;
                    Some(Some(Seen::new(lease)))
                }
                Err(error) => {
                    debug!(%error, "the watch of the lock was interrupted");
                    None
                }
            };
            std::future::ready(change)
        })
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// What to do about a refusal, where something can be done.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "{}; grant get, list, watch, create and update on leases.coordination.k8s.io in this namespace",
            status.message
        ),
        kube::Error::Api(status) if status.code == 401 => {
            format!("{}; the credentials for the API server are not valid, or no longer", status.message)
        }
        error => error.to_string(),
    }
}
