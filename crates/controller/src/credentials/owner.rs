//! The two kinds of objects that hold tokens, and what their status says of them.

use jumpstarter_model::{
    Client, Exporter, LocalObjectReference, Timestamp,
    condition::{is_true, set_condition},
    identity::Subject,
};
use jumpstarter_store::{DecodeError, Kind, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::judge::{Holder, token_life};

/// A client or an exporter.
pub(super) enum Owner {
    Client(Box<Client>),
    Exporter(Box<Exporter>),
}

/// A status to write, and what it says that it did not say before.
pub(super) struct Change {
    pub(super) object: Object,
    /// `status.credential` was absent.
    pub(super) first_credential: bool,
    /// `TokenExpiring` was not true.
    pub(super) expires_soon: bool,
}

impl Owner {
    /// `None` for kinds that hold no tokens.
    pub(super) fn of(object: &Object) -> Result<Option<Self>, DecodeError> {
        Ok(match object.kind() {
            Kind::Client => Some(Self::Client(Box::new(object.decode()?))),
            Kind::Exporter => Some(Self::Exporter(Box::new(object.decode()?))),
            Kind::Secret
            | Kind::ConfigMap
            | Kind::ExporterAccessPolicy
            | Kind::LeaseQuota
            | Kind::MaintenanceWindow
            | Kind::Lease => None,
        })
    }

    pub(super) fn holder(&self) -> Holder<'_> {
        match self {
            Self::Client(client) => {
                Holder { kind: Kind::Client, metadata: &client.metadata, subject: Subject::of_client(client) }
            }
            Self::Exporter(exporter) => {
                Holder { kind: Kind::Exporter, metadata: &exporter.metadata, subject: Subject::of_exporter(exporter) }
            }
        }
    }

    /// The status that fits this Secret; `None` when it fits already.
    pub(super) fn status(&self, secret: &str, endpoint: &str, expires: Timestamp, now: Timestamp) -> Option<Change> {
        match self {
            Self::Client(client) => {
                let mut edited = client.clone();
                let generation = edited.metadata.generation;
                let status = edited.status.get_or_insert_default();
                let before = is_true(&status.conditions, "TokenExpiring");
                let first_credential = status.credential.is_none();
                status.credential = Some(LocalObjectReference::new(secret));
                status.endpoint = Some(endpoint.to_owned());
                status.token_expires_at = Some(Time(expires));
                let (expiring, reason, message) = token_life(expires, now);
                set_condition(&mut status.conditions, "TokenExpiring", expiring, reason, &message, generation, now);
                (edited.status != client.status).then(|| Change {
                    object: Object::from_resource(&*edited),
                    first_credential,
                    expires_soon: expiring && !before,
                })
            }
            Self::Exporter(exporter) => {
                let mut edited = exporter.clone();
                let status = edited.status.get_or_insert_default();
                let first_credential = status.credential.is_none();
                status.credential = Some(LocalObjectReference::new(secret));
                status.endpoint = Some(endpoint.to_owned());
                (edited.status != exporter.status).then(|| Change {
                    object: Object::from_resource(&*edited),
                    first_credential,
                    expires_soon: false,
                })
            }
        }
    }
}
