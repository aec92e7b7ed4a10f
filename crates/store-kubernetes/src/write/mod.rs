//! Writes: each half by its own request, each for one state of the object.
//!
//! Of two requests for one write the status goes first when the object exists: a lease whose status says that it has
//! ended, and whose label does not yet, is one that anybody can finish; the other way round it would be passed over
//! for good. A new object has to be there before it can have a status.

mod body;

use std::time::Duration;

use jumpstarter_store::{Key, Object, Precondition, ResourceVersion, StoreError, Write, semantics::check_precondition};
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};
use serde_json::Value;

use crate::{
    FIELD_MANAGER,
    api::Api,
    backoff::Backoff,
    decode::{self, Reporter},
    error::Failure,
    list,
};

/// How often an unconditional write is made again when somebody else was faster.
const ATTEMPTS: u32 = 8;

/// The halves of an object that a write is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Desired,
    Status,
    Both,
}

impl Part {
    fn desired(self) -> bool {
        self != Self::Status
    }

    fn status(self) -> bool {
        self != Self::Desired
    }
}

/// Makes one change. `known` is what a watch last told of the object, if there is one: a hint, never the truth.
pub(crate) async fn write(
    api: &Api,
    reporter: &Reporter,
    write: Write,
    known: Option<Object>,
) -> Result<Object, StoreError> {
    let key = write.key();
    if key.namespace != api.namespace {
        return Err(StoreError::Invalid(if key.namespace.is_empty() {
            format!("{key}: metadata.namespace is missing")
        } else {
            format!("{key}: only objects of namespace `{}` are kept here", api.namespace)
        }));
    }
    let writer = Writer { api, reporter };
    match write {
        Write::Create(object) => writer.create(&object).await,
        Write::Update(object) => writer.change(object, Part::Desired, known).await,
        Write::UpdateStatus(object) => writer.change(object, Part::Status, known).await,
        Write::Replace(object) => writer.change(object, Part::Both, known).await,
        Write::Delete(key, expected) => writer.delete(&key, &expected.unwrap_or_default()).await,
    }
}

struct Writer<'a> {
    api: &'a Api,
    reporter: &'a Reporter,
}

impl Writer<'_> {
    async fn create(&self, object: &Object) -> Result<Object, StoreError> {
        let key = object.key();
        if object.resource_version() != ResourceVersion::ZERO {
            return Err(StoreError::Invalid(format!(
                "{key}: metadata.resourceVersion must not be set on an object to be created"
            )));
        }
        no_status_for_core(object)?;
        let call = self.api.call("create", key.kind);
        let request = self.api.path(key.kind).create(&post(), bytes(&body::creation(object)));
        let created = self.send(key, &call, request).await?;
        if body::status(object).is_none() {
            return Ok(created);
        }
        // The name may have been made by the server.
        let mut value = object.clone().into_value();
        value["metadata"]["name"] = created.name().into();
        let object = Object::from_value(value).map_err(|error| StoreError::Invalid(error.to_string()))?;
        self.put_status(&object, created.uid(), created.resource_version()).await
    }

    async fn change(&self, object: Object, part: Part, known: Option<Object>) -> Result<Object, StoreError> {
        let key = object.key();
        if !list::is_name(&key.name) {
            return Err(StoreError::NotFound(key.clone()));
        }
        let mut part = part;
        if key.kind.is_core() && part.status() {
            no_status_for_core(&object)?;
            part = match part {
                Part::Both => Part::Desired,
                // Nothing to write: the object as it is, if it is as the writer thinks.
                _ => return self.as_it_is(&object).await,
            };
        }
        if object.resource_version() == ResourceVersion::ZERO {
            return self.unconditional(object, part).await;
        }
        // What is known to be written already is not sent again. As nothing would change, it does no harm that the
        // object may have moved on since it was told.
        if let Some(known) = known.filter(|known| is_state(known, &object)) {
            let desired = part.desired() && !body::same_desired(&known, &object);
            let status = part.status() && !body::same_status(&known, &object);
            part = match (desired, status) {
                (false, false) => return Ok(known),
                (true, false) => Part::Desired,
                (false, true) => Part::Status,
                (true, true) => Part::Both,
            };
        }
        let (uid, version) = (object.uid().to_owned(), object.resource_version());
        self.put(&object, part, &uid, version).await
    }

    /// Reads, writes what differs, and does it again when somebody else was faster.
    async fn unconditional(&self, object: Object, part: Part) -> Result<Object, StoreError> {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
        let mut attempt = 1;
        loop {
            let current = self.current(object.key()).await?;
            check_uid(&current, object.uid())?;
            let wanted = body::with_finalizers_of(object.clone(), &current);
            let desired = part.desired() && !body::same_desired(&current, &wanted);
            let status = part.status() && !body::same_status(&current, &wanted);
            let rest = match (desired, status) {
                (false, false) => return Ok(current),
                (true, false) => Part::Desired,
                (false, true) => Part::Status,
                (true, true) => Part::Both,
            };
            match self.put(&wanted, rest, current.uid(), current.resource_version()).await {
                Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn put(
        &self,
        object: &Object,
        part: Part,
        uid: &str,
        version: ResourceVersion,
    ) -> Result<Object, StoreError> {
        match part {
            Part::Desired => self.put_desired(object, uid, version).await,
            Part::Status => self.put_status(object, uid, version).await,
            Part::Both => {
                let observed = self.put_status(object, uid, version).await?;
                self.put_desired(object, observed.uid(), observed.resource_version()).await
            }
        }
    }

    async fn put_desired(&self, object: &Object, uid: &str, version: ResourceVersion) -> Result<Object, StoreError> {
        let key = object.key();
        let body = bytes(&body::desired_update(object, uid, &version.to_string()));
        let request = self.api.path(key.kind).replace(&key.name, &post(), body);
        self.send(key, &self.api.call("update", key.kind), request).await
    }

    async fn put_status(&self, object: &Object, uid: &str, version: ResourceVersion) -> Result<Object, StoreError> {
        let key = object.key();
        let body = bytes(&body::status_update(object, uid, &version.to_string()));
        let request = self.api.path(key.kind).replace_subresource("status", &key.name, &post(), body);
        self.send(key, &self.api.call("update", key.kind).status(), request).await
    }

    async fn delete(&self, key: &Key, expected: &Precondition) -> Result<Object, StoreError> {
        let mut attempt = 1;
        loop {
            let current = self.current(key).await?;
            check_precondition(&current, expected)?;
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                preconditions: Some(Preconditions {
                    uid: Some(current.uid().to_owned()),
                    resource_version: expected.resource_version.map(|version| version.to_string()),
                }),
                ..DeleteParams::default()
            };
            let call = self.api.call("delete", key.kind);
            let request = self.api.path(key.kind).delete(&key.name, &params).map_err(|error| invalid(&error))?;
            match self.api.json(&call, request).await {
                Ok(_) => return Ok(current),
                Err(failure) => match failure.into_store(&call, Some(key)) {
                    // Another object has taken the name since it was read.
                    StoreError::Conflict { .. } if *expected == Precondition::default() && attempt < ATTEMPTS => {
                        attempt += 1;
                    }
                    error => return Err(error),
                },
            }
        }
    }

    async fn as_it_is(&self, object: &Object) -> Result<Object, StoreError> {
        let current = self.current(object.key()).await?;
        let expected = Precondition {
            uid: Some(object.uid().to_owned()).filter(|uid| !uid.is_empty()),
            resource_version: Some(object.resource_version()).filter(|version| *version != ResourceVersion::ZERO),
        };
        check_precondition(&current, &expected)?;
        Ok(current)
    }

    async fn current(&self, key: &Key) -> Result<Object, StoreError> {
        list::get(self.api, self.reporter, key).await?.ok_or_else(|| StoreError::NotFound(key.clone()))
    }

    async fn send(
        &self,
        key: &Key,
        call: &crate::error::Call,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Object, StoreError> {
        let request = request.map_err(|error| invalid(&error))?;
        let value =
            self.api.json(call, request).await.map_err(|failure: Failure| failure.into_store(call, Some(key)))?;
        decode::object(key.kind, value).map_err(|found| {
            self.reporter.report(&found);
            StoreError::Corrupt(format!("{key}: {}", found.detail))
        })
    }
}

/// Whether an object is in exactly the state that a writer saw.
fn is_state(known: &Object, seen: &Object) -> bool {
    known.resource_version() == seen.resource_version() && (seen.uid().is_empty() || known.uid() == seen.uid())
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

fn invalid(error: &kube::core::request::Error) -> StoreError {
    StoreError::Invalid(error.to_string())
}

fn no_status_for_core(object: &Object) -> Result<(), StoreError> {
    if object.kind().is_core() && body::status(object).is_some() {
        return Err(StoreError::Invalid(format!("{}: this kind has no status", object.key())));
    }
    Ok(())
}

fn check_uid(current: &Object, uid: &str) -> Result<(), StoreError> {
    let uid = Some(uid.to_owned()).filter(|uid| !uid.is_empty());
    check_precondition(current, &Precondition { uid, resource_version: None })
}
