//! Objects as JSON, one namespace, every call with a deadline.

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde_json::Value;

use super::DEADLINE;
use crate::failure::Failure;

/// Objects asked for at a time.
const PAGE: u32 = 500;

/// The kinds that administrators handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Client`.
    Client,
    /// `Exporter`.
    Exporter,
    /// `Lease`.
    Lease,
    /// `ExporterAccessPolicy`.
    Policy,
    /// `LeaseQuota`.
    Quota,
    /// `MaintenanceWindow`.
    Window,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 6] =
        [Self::Client, Self::Exporter, Self::Lease, Self::Policy, Self::Quota, Self::Window];

    /// As in manifests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
            Self::Lease => "Lease",
            Self::Policy => "ExporterAccessPolicy",
            Self::Quota => "LeaseQuota",
            Self::Window => "MaintenanceWindow",
        }
    }

    /// As in `-o name` and in sentences.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exporter => "exporter",
            Self::Lease => "lease",
            Self::Policy => "exporteraccesspolicy",
            Self::Quota => "leasequota",
            Self::Window => "maintenancewindow",
        }
    }

    fn resource(self) -> ApiResource {
        match self {
            Self::Client => ApiResource::erase::<Client>(&()),
            Self::Exporter => ApiResource::erase::<Exporter>(&()),
            Self::Lease => ApiResource::erase::<Lease>(&()),
            Self::Policy => ApiResource::erase::<ExporterAccessPolicy>(&()),
            Self::Quota => ApiResource::erase::<LeaseQuota>(&()),
            Self::Window => ApiResource::erase::<MaintenanceWindow>(&()),
        }
    }
}

/// One namespace of an API.
pub(crate) struct Cluster {
    client: kube::Client,
    namespace: String,
}

impl Cluster {
    pub(super) fn new(client: kube::Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// The namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One object.
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Value, Failure> {
        let object = within(self.api(kind).get(name)).await?;
        to_json(kind, &object)
    }

    /// One object, or nothing when there is none of that name.
    pub(crate) async fn find(&self, kind: Kind, name: &str) -> Result<Option<Value>, Failure> {
        let object = within(self.api(kind).get_opt(name)).await?;
        object.map(|object| to_json(kind, &object)).transpose()
    }

    /// All objects of a kind, in the order of the API.
    pub(crate) async fn list(&self, kind: Kind) -> Result<Vec<Value>, Failure> {
        let api = self.api(kind);
        let mut all = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = within(api.list(&page)).await?;
            for object in &list.items {
                all.push(to_json(kind, object)?);
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// Makes an object of a manifest.
    pub(crate) async fn create(&self, kind: Kind, manifest: Value) -> Result<Value, Failure> {
        let object = from_json(manifest)?;
        let created = within(self.api(kind).create(&PostParams::default(), &object)).await?;
        to_json(kind, &created)
    }

    /// Replaces an object by one that carries its resource version.
    pub(crate) async fn replace(&self, kind: Kind, name: &str, manifest: Value) -> Result<Value, Failure> {
        let object = from_json(manifest)?;
        let replaced = within(self.api(kind).replace(name, &PostParams::default(), &object)).await?;
        to_json(kind, &replaced)
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        within(self.api(kind).delete(name, &DeleteParams::default())).await.map(|_| ())
    }
}

/// Waits for an answer of the API, but not for ever.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::new(format!("Operation timed out: no answer within {} s", DEADLINE.as_secs()))),
    }
}

fn from_json(manifest: Value) -> Result<DynamicObject, Failure> {
    serde_json::from_value(manifest).map_err(|error| Failure::from_error("read the manifest", &error))
}

/// The object with its kind, which items of lists may lack.
fn to_json(kind: Kind, object: &DynamicObject) -> Result<Value, Failure> {
    let mut value =
        serde_json::to_value(object).map_err(|error| Failure::from_error("read the answer of the server", &error))?;
    value["apiVersion"] = jumpstarter_model::API_VERSION.into();
    value["kind"] = kind.name().into();
    Ok(value)
}
