//! Reads: one object, lists, and the way to watches.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use jumpstarter_store::{Key, List, ListOptions, StoreError};
use serde_json::{Value, json};

use crate::{
    error::ApiError,
    params::Params,
    route::{Api, Target},
    unix::Stop,
    watch,
};

/// One object.
pub(crate) async fn get(api: &Arc<Api>, target: &Target) -> Result<Response, ApiError> {
    let key = key(target);
    let object = api.store.get(&key).await?.ok_or(StoreError::NotFound(key))?;
    Ok(axum::Json(object.value()).into_response())
}

/// Many objects, now or from now on.
pub(crate) async fn list(
    api: &Arc<Api>,
    target: &Target,
    params: Params,
    stop: Option<Stop>,
) -> Result<Response, ApiError> {
    if params.watch {
        return watch::watch(api, target, params, stop).await;
    }
    if params.limit.is_some() && !params.fields.is_empty() {
        return Err(ApiError::BadRequest("limit and fieldSelector do not go together here".to_owned()));
    }
    let options =
        ListOptions { label_selector: params.labels, limit: params.limit, continue_token: params.continue_token };
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let List { items, resource_version, continue_token } = api.store.list(target.kind, namespace, options).await?;
    let items: Vec<&Value> =
        items.iter().filter(|object| params.fields.matches(object)).map(jumpstarter_store::Object::value).collect();
    let mut metadata = json!({ "resourceVersion": resource_version.to_string() });
    if let Some(token) = continue_token {
        metadata["continue"] = token.into();
    }
    let body = json!({
        "kind": format!("{}List", target.kind.name()), "apiVersion": target.kind.api_version(),
        "metadata": metadata, "items": items,
    });
    Ok(axum::Json(body).into_response())
}

/// The key of a path that names an object.
pub(crate) fn key(target: &Target) -> Key {
    Key::new(target.kind, target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default())
}
