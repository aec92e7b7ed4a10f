//! Export of the whole store, and import of manifests into it.

use std::{collections::BTreeMap, io};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{EmbeddedStore, apply, error, writer};
use crate::{
    Key, Kind, Object, Store, StoreError, Write,
    manifest::{self, Import, ImportError, ImportFault, ImportReport},
};

impl EmbeddedStore {
    /// Writes every object, as it is at one moment, as YAML manifests: Secrets and `ConfigMap`s, Clients, Exporters,
    /// policies, Leases. `out` may be slow: it keeps nobody waiting.
    pub async fn export(&self, mut out: impl io::Write + Send + 'static) -> Result<(), StoreError> {
        let export = move |connection: &mut rusqlite::Connection| {
            let sqlite = |error: rusqlite::Error| error::from_sqlite(&error);
            let transaction = connection.transaction().map_err(sqlite)?;
            let mut objects = Vec::new();
            for kind in Kind::ALL {
                let mut statement = transaction
                    .prepare_cached("SELECT body FROM obj WHERE kind = ?1 ORDER BY namespace, name")
                    .map_err(sqlite)?;
                let bodies = statement.query_map([kind.name()], |row| row.get::<_, String>(0)).map_err(sqlite)?;
                for body in bodies {
                    objects.push(apply::parse(&body.map_err(sqlite)?)?);
                }
            }
            Ok(objects)
        };
        let objects = self.0.readers.run(export).await?;
        // Off the readers: whoever takes the text may take his time.
        let written = tokio::task::spawn_blocking(move || manifest::write(objects, &mut out)).await;
        written
            .map_err(io::Error::other)
            .and_then(|written| written)
            .map_err(|error| StoreError::Unavailable(format!("export: {error}")))
    }

    /// Creates every object of the manifests in one transaction, status included, or none. Objects without a namespace
    /// go to `namespace`. Who owns what is found out anew, since other stores' `uid`s mean nothing here.
    pub async fn import(
        &self,
        reader: impl io::Read + Send + 'static,
        namespace: &str,
    ) -> Result<ImportReport, ImportError> {
        let namespace = namespace.to_owned();
        let imports = tokio::task::spawn_blocking(move || manifest::parse(reader, &namespace))
            .await
            .map_err(|error| ImportError::Read(io::Error::other(error)))??;
        self.refuse_existing(&imports).await?;
        let mut report = ImportReport::default();
        for import in &imports {
            *report.created.entry(import.object.kind()).or_default() += 1;
        }
        let writes = owned(imports.into_iter().map(|import| import.object).collect());
        self.create_as_given(writes).await.map_err(ImportError::Store)?;
        Ok(report)
    }

    /// All that exist at once, so that they can be seen to at once; the transaction looks again.
    async fn refuse_existing(&self, imports: &[Import]) -> Result<(), ImportError> {
        let mut faults = Vec::new();
        for Import { document, object } in imports {
            let key = object.key();
            if !key.name.is_empty() && self.get(key).await.map_err(ImportError::Store)?.is_some() {
                let object = format!("{} {}", key.kind, key.name);
                faults.push(ImportFault { document: *document, object, message: "it exists already".to_owned() });
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ImportError::Faults(faults)) }
    }

    async fn create_as_given(&self, writes: Vec<Write>) -> Result<Vec<Object>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let writer = self.0.writer.as_ref().ok_or_else(error::closed)?;
        let request = writer::Request { work: writer::Work { writes, keep_uids: true }, reply };
        writer.send(request).await.map_err(|_| error::closed())?;
        answer.await.map_err(|_| error::closed())?
    }
}

/// Gives each object a `uid`, and owners by the rules of kubernetes.md §2.3: a credential belongs to its client or
/// exporter, a lease to the exporter that it was assigned to.
fn owned(objects: Vec<Object>) -> Vec<Write> {
    let uids: BTreeMap<Key, String> =
        objects.iter().map(|object| (object.key().clone(), Uuid::now_v7().to_string())).collect();
    let mut owners: BTreeMap<Key, Key> = BTreeMap::new();
    for object in &objects {
        let status = &object.value()["status"];
        let named = |kind: Kind, name: &Value| {
            name.as_str().filter(|name| !name.is_empty()).map(|name| Key::new(kind, object.namespace(), name))
        };
        match object.kind() {
            Kind::Client | Kind::Exporter => {
                if let Some(secret) = named(Kind::Secret, &status["credential"]["name"]) {
                    owners.insert(secret, object.key().clone());
                }
            }
            Kind::Lease => {
                if let Some(exporter) = named(Kind::Exporter, &status["exporterRef"]["name"]) {
                    owners.insert(object.key().clone(), exporter);
                }
            }
            Kind::Secret
            | Kind::ConfigMap
            | Kind::ExporterAccessPolicy
            | Kind::LeaseQuota
            | Kind::MaintenanceWindow => {}
        }
    }
    let create = |object: Object| {
        let key = object.key().clone();
        let mut value = object.into_value();
        if let Some(uid) = uids.get(&key).filter(|_| !key.name.is_empty()) {
            value["metadata"]["uid"] = json!(uid);
        }
        if let Some((owner, uid)) = owners.get(&key).and_then(|owner| Some((owner, uids.get(owner)?))) {
            value["metadata"]["ownerReferences"] = json!([{
                "apiVersion": owner.kind.api_version(), "kind": owner.kind.name(), "name": owner.name,
                "uid": uid, "controller": true, "blockOwnerDeletion": true,
            }]);
        }
        Object::from_value(value).map(Write::Create)
    };
    objects.into_iter().filter_map(|object| create(object).ok()).collect()
}
