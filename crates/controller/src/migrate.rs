//! Takes over the status of objects that came by `kubectl apply`, which leaves it out.
//!
//! An export of another service carries the status of leases and exporters in an annotation. It is put back before the
//! lab is loaded, all at once: an exporter that names its lease and the lease that names it mean nothing one without
//! the other. What arrives later waits for the next start and is left out until then, since a running lease must not be
//! taken for a new one.

use jumpstarter_model::{Exporter, ExporterStatus, Lease, LeaseStatus};
use jumpstarter_store::{Kind, ListOptions, Object, Store, StoreError, Write, manifest::MIGRATED_STATUS};
use tracing::{info, warn};

/// Attempts for one object that others change at the same time.
const ATTEMPTS: usize = 8;

/// Puts back every status that is missing. May be repeated at any time before the lab is loaded.
pub(crate) async fn take_over(store: &dyn Store, namespace: &str) -> Result<(), StoreError> {
    // An exporter that names a lease without a status is less of a riddle than the other way round.
    for kind in [Kind::Exporter, Kind::Lease] {
        for object in store.list(kind, namespace, ListOptions::default()).await?.items {
            restore(store, object).await?;
        }
    }
    Ok(())
}

async fn restore(store: &dyn Store, mut object: Object) -> Result<(), StoreError> {
    let key = object.key().clone();
    for _ in 0..ATTEMPTS {
        let restored = match restored(&object) {
            Ok(Some(restored)) => restored,
            Ok(None) => return Ok(()),
            Err(error) => {
                warn!(object = %key, %error, "the annotation {MIGRATED_STATUS} cannot be read, the object starts anew");
                return Ok(());
            }
        };
        match store.transact(vec![Write::UpdateStatus(restored)]).await {
            Ok(_) => {
                info!(object = %key, "status taken over from where the object came from");
                return Ok(());
            }
            Err(StoreError::Conflict { .. }) => match store.get(&key).await? {
                Some(now) => object = now,
                None => return Ok(()),
            },
            Err(StoreError::NotFound(_)) => return Ok(()),
            Err(StoreError::Invalid(error)) => {
                warn!(object = %key, %error, "the status in the annotation {MIGRATED_STATUS} is not taken");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the object has a status to be put back.
pub(crate) fn is_due(object: &Object) -> bool {
    matches!(restored(object), Ok(Some(_)))
}

/// The object with the status that it had; nothing when it has one, or never had.
fn restored(object: &Object) -> Result<Option<Object>, serde_json::Error> {
    let annotations = object.annotations();
    let Some(text) = annotations.get(MIGRATED_STATUS) else { return Ok(None) };
    match object.kind() {
        Kind::Lease => {
            let Ok(mut lease) = object.decode::<Lease>() else { return Ok(None) };
            let had: LeaseStatus = serde_json::from_str(text)?;
            if lease.status.take().unwrap_or_default() != LeaseStatus::default() || had == LeaseStatus::default() {
                return Ok(None);
            }
            lease.status = Some(had);
            Ok(Some(Object::from_resource(&lease)))
        }
        Kind::Exporter => {
            let Ok(mut exporter) = object.decode::<Exporter>() else { return Ok(None) };
            let had: ExporterStatus = serde_json::from_str(text)?;
            // Credential and endpoint are this service's own, and may be there already.
            let own = exporter.status.take().unwrap_or_default();
            let bare = |status: ExporterStatus| ExporterStatus { credential: None, endpoint: None, ..status };
            if bare(own.clone()) != ExporterStatus::default() || bare(had.clone()) == ExporterStatus::default() {
                return Ok(None);
            }
            exporter.status = Some(ExporterStatus { credential: own.credential, endpoint: own.endpoint, ..had });
            Ok(Some(Object::from_resource(&exporter)))
        }
        Kind::Secret
        | Kind::ConfigMap
        | Kind::Client
        | Kind::ExporterAccessPolicy
        | Kind::LeaseQuota
        | Kind::MaintenanceWindow => Ok(None),
    }
}
