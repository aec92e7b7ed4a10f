//! Lists, page by page.

use std::time::Duration;

use jumpstarter_store::{Key, Kind, List, ListOptions, Object, ResourceVersion, StoreError};
use kube::api::ListParams;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    api::Api,
    decode::Reporter,
    error::{Call, Failure},
};

/// Objects in one answer of a list that is taken whole.
const CHUNK: u32 = 500;
/// How often a whole list is begun again when its continuation has expired.
const RESTARTS: u32 = 3;

/// One page as the caller wants it, or everything.
pub(crate) async fn list(
    api: &Api,
    reporter: &Reporter,
    kind: Kind,
    options: ListOptions,
    limit: Duration,
) -> Result<List, StoreError> {
    let ListOptions { label_selector, limit: page, continue_token } = options;
    let selector = label_selector.map(|selector| selector.to_string()).filter(|text| !text.is_empty());
    let deadline = Instant::now() + limit;
    let page = page.filter(|page| *page > 0).and_then(|page| u32::try_from(page).ok());
    let call = api.call("list", kind);
    if page.is_some() || continue_token.is_some() {
        let params = params(selector, page, continue_token);
        let page = one(api, reporter, kind, &call, params, deadline).await;
        return page.map_err(|failure| match failure {
            failure if failure.is_gone() => StoreError::Gone { requested: 0, oldest: 0 },
            failure => failure.into_store(&call, None),
        });
    }
    let mut restarts = 0;
    'whole: loop {
        let mut whole = List::default();
        let mut token = None;
        loop {
            let params = params(selector.clone(), Some(CHUNK), token.take());
            match one(api, reporter, kind, &call, params, deadline).await {
                Ok(page) => {
                    if whole.resource_version == ResourceVersion::ZERO {
                        whole.resource_version = page.resource_version;
                    }
                    whole.items.extend(page.items);
                    token = page.continue_token;
                }
                Err(failure) if failure.is_gone() && restarts < RESTARTS => {
                    restarts += 1;
                    continue 'whole;
                }
                Err(failure) => return Err(failure.into_store(&call, None)),
            }
            if token.is_none() {
                whole.items.sort_unstable_by(|a, b| a.key().cmp(b.key()));
                return Ok(whole);
            }
        }
    }
}

fn params(label_selector: Option<String>, limit: Option<u32>, continue_token: Option<String>) -> ListParams {
    ListParams { label_selector, limit, continue_token, ..ListParams::default() }
}

async fn one(
    api: &Api,
    reporter: &Reporter,
    kind: Kind,
    call: &Call,
    params: ListParams,
    deadline: Instant,
) -> Result<List, Failure> {
    let request = api.path(kind).list(&params).map_err(|error| Failure::Garbled(error.to_string()))?;
    let mut answer = api.json_by(call, request, deadline).await?;
    let metadata = &answer["metadata"];
    let version = metadata["resourceVersion"].as_str().unwrap_or_default();
    let resource_version = version
        .parse()
        .map_err(|_| Failure::Garbled(format!("metadata.resourceVersion of the list is `{version}`")))?;
    let continue_token = metadata["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    let items = match answer["items"].take() {
        Value::Array(items) => reporter.sift(kind, items),
        _ => Vec::new(),
    };
    Ok(List { items, resource_version, continue_token })
}

/// The object of this name, if there is one.
pub(crate) async fn get(api: &Api, reporter: &Reporter, key: &Key) -> Result<Option<Object>, StoreError> {
    if !is_name(&key.name) {
        return Ok(None);
    }
    let call = api.call("get", key.kind);
    let request = api
        .path(key.kind)
        .get(&key.name, &kube::api::GetParams::default())
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    match api.json(&call, request).await {
        Ok(value) => crate::decode::object(key.kind, value).map(Some).map_err(|found| {
            reporter.report(&found);
            StoreError::Corrupt(format!("{key}: {}", found.detail))
        }),
        Err(failure) if failure.is_absent(&call) => Ok(None),
        Err(failure) => Err(failure.into_store(&call, Some(key))),
    }
}

/// Whether an object can have this name. What cannot be one is not put into a path.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(plain) && !matches!(name, "." | "..")
}
