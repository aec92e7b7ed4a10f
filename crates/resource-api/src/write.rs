//! Writes: create, replace, patch, delete, with what an API server checks before.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use jumpstarter_store::{Object, Precondition, ResourceVersion, StoreError, Write, validate};
use serde_json::{Map, Value, json};

use crate::{
    body,
    error::ApiError,
    list::key,
    merge::merge,
    params::Params,
    route::{Api, Target},
};

/// Tries of a patch that others keep overtaking.
const TRIES: usize = 8;

/// `POST`: a new object.
pub(crate) async fn create(
    api: &Arc<Api>,
    target: &Target,
    _: &Params,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let value = admit(api, target, body::object(request).await?)?;
    let object = one(api, Write::Create(without_status(&value)?)).await?;
    Ok((StatusCode::CREATED, axum::Json(object.value())).into_response())
}

/// `PUT`: the next state of an object, or of its status.
pub(crate) async fn replace(
    api: &Arc<Api>,
    target: &Target,
    _: &Params,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let value = admit(api, target, body::object(request).await?)?;
    let object = parse(&value)?;
    if !target.kind.is_core() && object.resource_version() == ResourceVersion::ZERO {
        let message = "0x0: must be specified for an update";
        return Err(invalid(target, object.name(), "metadata.resourceVersion", message));
    }
    let current = current(api, target).await?;
    let written = write(api, target, &current, &value, object).await?;
    Ok(axum::Json(written.value()).into_response())
}

/// `PATCH`: changes to an object; an apply also creates it.
pub(crate) async fn patch(
    api: &Arc<Api>,
    target: &Target,
    params: &Params,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (headers, bytes) = body::read(request, body::MAX_BODY).await?;
    let (patch, apply) = match body::media_type(&headers).as_str() {
        "application/merge-patch+json" => (body::json(&bytes)?, false),
        // Without lists in them, core kinds merge alike.
        "application/strategic-merge-patch+json" if target.kind.is_core() => (body::json(&bytes)?, false),
        "application/apply-patch+yaml" | "application/apply-patch+json" => (body::yaml(&bytes)?, true),
        other => {
            return Err(ApiError::UnsupportedMediaType(format!(
                "patches of type \"{other}\" are not supported: use application/merge-patch+json or \
                 application/apply-patch+yaml"
            )));
        }
    };
    if !patch.is_object() {
        return Err(ApiError::BadRequest("a patch is an object".to_owned()));
    }
    if apply && params.field_manager.is_none() {
        return Err(ApiError::BadRequest("fieldManager is required for apply patch".to_owned()));
    }
    let conditional = !patch["metadata"]["resourceVersion"].is_null();
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match patch_once(api, target, &patch, apply).await {
            Err(ApiError::Store(StoreError::Conflict { .. })) if !conditional && tries > 0 => {}
            // Somebody else created it between the look and the create.
            Err(ApiError::Store(StoreError::AlreadyExists(_))) if apply && tries > 0 => {}
            outcome => return outcome,
        }
    }
}

async fn patch_once(api: &Arc<Api>, target: &Target, patch: &Value, apply: bool) -> Result<Response, ApiError> {
    let current = match current(api, target).await {
        Err(ApiError::Store(StoreError::NotFound(_))) if apply && !target.status => {
            let value = admit(api, target, patch.clone())?;
            let object = one(api, Write::Create(without_status(&value)?)).await?;
            return Ok((StatusCode::CREATED, axum::Json(object.value())).into_response());
        }
        current => current?,
    };
    let mut value = current.value().clone();
    merge(&mut value, patch);
    let value = admit(api, target, value)?;
    let next = parse(&value)?;
    let written = write(api, target, &current, &value, next).await?;
    Ok(axum::Json(written.value()).into_response())
}

/// `DELETE`: the end of an object, if it is in the state that the client expects.
pub(crate) async fn delete(
    api: &Arc<Api>,
    target: &Target,
    _: &Params,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (_, bytes) = body::read(request, body::MAX_BODY).await?;
    let options = if bytes.is_empty() { json!({}) } else { body::yaml(&bytes)? };
    if options["propagationPolicy"] == "Orphan" || options["orphanDependents"] == true {
        return Err(ApiError::BadRequest("dependents cannot be orphaned here: they go with their owner".to_owned()));
    }
    if options["dryRun"].as_array().is_some_and(|dry_run| !dry_run.is_empty()) {
        return Err(ApiError::BadRequest("dryRun is not supported here: nothing was changed".to_owned()));
    }
    let expected = &options["preconditions"];
    let version = expected["resourceVersion"].as_str().map(str::parse::<ResourceVersion>).transpose();
    let expected = Precondition {
        uid: expected["uid"].as_str().map(str::to_owned),
        resource_version: version
            .map_err(|_| ApiError::BadRequest("preconditions.resourceVersion is not a version".to_owned()))?,
    };
    let gone = one(api, Write::Delete(key(target), Some(expected))).await?;
    let details = json!({
        "name": gone.name(), "group": target.kind.group(), "kind": target.kind.plural(), "uid": gone.uid(),
    });
    let status =
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
    Ok(axum::Json(status).into_response())
}

/// Checks a manifest against its path and its kind.
fn admit(api: &Api, target: &Target, mut value: Value) -> Result<Value, ApiError> {
    if !value.is_object() {
        return Err(ApiError::BadRequest("the object provided is unrecognized: it is not an object".to_owned()));
    }
    for (field, expected) in [("apiVersion", target.kind.api_version()), ("kind", target.kind.name())] {
        match &value[field] {
            Value::Null => value[field] = expected.into(),
            given if given == expected => {}
            given => {
                return Err(ApiError::BadRequest(format!("{field} is {given}, this path is about {expected}")));
            }
        }
    }
    if value["metadata"].is_null() {
        value["metadata"] = Value::Object(Map::new());
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        agree(metadata, "namespace", namespace)?;
        if let Some(name) = &target.name {
            agree(metadata, "name", name)?;
        }
        metadata.shift_remove("managedFields");
        if target.name.is_none() && namespace != api.namespace {
            return Err(ApiError::Namespace { asked: namespace.to_owned(), served: api.namespace.clone() });
        }
    }
    validate::apply_defaults(target.kind, &mut value);
    let faults = validate::manifest_faults(target.kind, &value);
    if faults.is_empty() {
        return Ok(value);
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::from_faults(target.kind, name, faults))
}

/// What the path says and what the manifest says are the same.
fn agree(metadata: &mut Map<String, Value>, field: &str, path: &str) -> Result<(), ApiError> {
    match metadata.get(field).and_then(Value::as_str).unwrap_or_default() {
        "" => {
            metadata.insert(field.to_owned(), path.into());
            Ok(())
        }
        given if given == path => Ok(()),
        given => Err(ApiError::BadRequest(format!(
            "the {field} of the object ({given}) does not match the {field} on the URL ({path})"
        ))),
    }
}

/// Writes the half that the path is about, on top of the state that was checked.
async fn write(
    api: &Arc<Api>,
    target: &Target,
    current: &Object,
    value: &Value,
    next: Object,
) -> Result<Object, ApiError> {
    if target.status {
        return one(api, Write::UpdateStatus(next)).await;
    }
    let faults = validate::update_faults(current, value);
    if !faults.is_empty() {
        return Err(ApiError::from_faults(target.kind, current.name(), faults));
    }
    // The check held for `current`, so the write must be on top of it.
    let next = if next.resource_version() == ResourceVersion::ZERO {
        let mut value = value.clone();
        value["metadata"]["resourceVersion"] = current.resource_version().to_string().into();
        parse(&value)?
    } else {
        next
    };
    one(api, Write::Update(next)).await
}

async fn current(api: &Arc<Api>, target: &Target) -> Result<Object, ApiError> {
    let key = key(target);
    Ok(api.store.get(&key).await?.ok_or(StoreError::NotFound(key))?)
}

async fn one(api: &Arc<Api>, write: Write) -> Result<Object, ApiError> {
    let written = api.store.transact(vec![write]).await?;
    let nothing = || StoreError::Unavailable("it answered with nothing".to_owned());
    Ok(written.into_iter().next().ok_or_else(nothing)?)
}

fn parse(value: &Value) -> Result<Object, ApiError> {
    Object::from_value(value.clone()).map_err(|error| ApiError::BadRequest(error.to_string()))
}

/// Status sent to the main endpoint is dropped (kubernetes.md §0).
fn without_status(value: &Value) -> Result<Object, ApiError> {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("status");
    }
    parse(&value)
}

fn invalid(target: &Target, name: &str, field: &str, message: &str) -> ApiError {
    let fault =
        validate::Fault { kind: validate::FaultKind::Invalid, field: field.to_owned(), message: message.to_owned() };
    ApiError::Invalid { kind: target.kind, name: name.to_owned(), faults: vec![fault] }
}
