//! The kinds that a store keeps.

use std::fmt;

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::{Serialize, de::DeserializeOwned};

/// A kind of object. The order is the one of exports: what others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Core `Secret`.
    Secret,
    /// Core `ConfigMap`.
    ConfigMap,
    /// `clients.jumpstarter.dev`.
    Client,
    /// `exporters.jumpstarter.dev`.
    Exporter,
    /// `exporteraccesspolicies.jumpstarter.dev`.
    ExporterAccessPolicy,
    /// `leasequotas.jumpstarter.dev`.
    LeaseQuota,
    /// `maintenancewindows.jumpstarter.dev`.
    MaintenanceWindow,
    /// `leases.jumpstarter.dev`.
    Lease,
}

impl Kind {
    /// Every kind, in export order.
    pub const ALL: [Self; 8] = [
        Self::Secret,
        Self::ConfigMap,
        Self::Client,
        Self::Exporter,
        Self::ExporterAccessPolicy,
        Self::LeaseQuota,
        Self::MaintenanceWindow,
        Self::Lease,
    ];

    /// The kinds that decisions are made from: what a controller watches.
    pub const OBSERVED: [Self; 6] = [
        Self::Client,
        Self::Exporter,
        Self::ExporterAccessPolicy,
        Self::LeaseQuota,
        Self::MaintenanceWindow,
        Self::Lease,
    ];

    /// `kind` as written in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Client => "Client",
            Self::Exporter => "Exporter",
            Self::ExporterAccessPolicy => "ExporterAccessPolicy",
            Self::LeaseQuota => "LeaseQuota",
            Self::MaintenanceWindow => "MaintenanceWindow",
            Self::Lease => "Lease",
        }
    }

    /// The name in URLs.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::Client => "clients",
            Self::Exporter => "exporters",
            Self::ExporterAccessPolicy => "exporteraccesspolicies",
            Self::LeaseQuota => "leasequotas",
            Self::MaintenanceWindow => "maintenancewindows",
            Self::Lease => "leases",
        }
    }

    /// `apiVersion` as written in manifests.
    pub const fn api_version(self) -> &'static str {
        if self.is_core() { "v1" } else { jumpstarter_model::API_VERSION }
    }

    /// API group; empty for the core kinds.
    pub const fn group(self) -> &'static str {
        if self.is_core() { "" } else { jumpstarter_model::GROUP }
    }

    /// Whether the kind is one of Kubernetes' own: `data` in place of `spec`, no status, no generation.
    pub const fn is_core(self) -> bool {
        matches!(self, Self::Secret | Self::ConfigMap)
    }

    /// Whether the kind came after the first release of the API, so that a cluster may not have it: it is then as if
    /// there were no objects of it.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::LeaseQuota | Self::MaintenanceWindow)
    }

    /// Whether the service says anything in the status of such objects.
    pub const fn has_status(self) -> bool {
        !self.is_core() && !matches!(self, Self::LeaseQuota)
    }

    /// The kind of a manifest's `apiVersion` and `kind`.
    pub fn from_type(api_version: &str, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.api_version() == api_version && kind.name() == name)
    }

    /// The kind of this `kind` text alone.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind of this URL name.
    pub fn from_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == plural)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that an [`Object`](crate::Object) converts from and to.
pub trait StoredKind: Serialize + DeserializeOwned {
    /// Its kind.
    const KIND: Kind;
}

macro_rules! stored {
    ($($kind:ident),*) => {
        $(impl StoredKind for $kind {
            const KIND: Kind = Kind::$kind;
        })*
    };
}
stored!(Client, Exporter, Lease, ExporterAccessPolicy, LeaseQuota, MaintenanceWindow, Secret, ConfigMap);
