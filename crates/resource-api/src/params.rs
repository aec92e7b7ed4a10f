//! What stands after the question mark.

use axum::extract::Query;
use http::Uri;
use jumpstarter_model::Selector;
use jumpstarter_store::{Object, ResourceVersion};
use serde::Deserialize;

use crate::error::ApiError;

/// As given.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    label_selector: Option<String>,
    field_selector: Option<String>,
    limit: Option<String>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    resource_version: Option<String>,
    watch: Option<String>,
    timeout_seconds: Option<String>,
    send_initial_events: Option<String>,
    dry_run: Option<String>,
    field_manager: Option<String>,
}

/// As understood.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pub(crate) labels: Option<Selector>,
    pub(crate) fields: Fields,
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: Option<String>,
    /// Absent for "whatever there is now".
    pub(crate) version: Option<ResourceVersion>,
    pub(crate) watch: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) field_manager: Option<String>,
}

/// A field selector: the two fields that every kind has.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    name: Option<String>,
    namespace: Option<String>,
}

impl Fields {
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.name.as_deref().is_none_or(|name| name == object.name())
            && self.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.name.is_none() && self.namespace.is_none()
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let mut fields = Self::default();
        for requirement in text.split(',').filter(|requirement| !requirement.is_empty()) {
            let (field, value) = requirement
                .split_once('=')
                .map(|(field, value)| (field, value.strip_prefix('=').unwrap_or(value)))
                .ok_or_else(|| bad("fieldSelector", text, "use FIELD=VALUE"))?;
            match field {
                "metadata.name" => fields.name = Some(value.to_owned()),
                "metadata.namespace" => fields.namespace = Some(value.to_owned()),
                _ => {
                    return Err(bad(
                        "fieldSelector",
                        text,
                        "only metadata.name and metadata.namespace can be selected",
                    ));
                }
            }
        }
        Ok(fields)
    }
}

impl Params {
    pub(crate) fn from_uri(uri: &Uri) -> Result<Self, ApiError> {
        let Query(given) = Query::<Given>::try_from_uri(uri)
            .map_err(|error| ApiError::BadRequest(format!("the query cannot be read: {error}")))?;
        let Given {
            label_selector,
            field_selector,
            limit,
            continue_token,
            resource_version,
            watch,
            timeout_seconds,
            send_initial_events,
            dry_run,
            field_manager,
        } = given;
        if dry_run.is_some_and(|dry_run| !dry_run.is_empty()) {
            return Err(ApiError::BadRequest("dryRun is not supported here: nothing was changed".to_owned()));
        }
        if truth("sendInitialEvents", send_initial_events.as_deref())? {
            return Err(ApiError::BadRequest("sendInitialEvents is not supported here: list, then watch".to_owned()));
        }
        let labels = label_selector
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| Selector::parse(text).map_err(|error| bad("labelSelector", text, &error.to_string())))
            .transpose()?;
        let version: Option<u64> = number("resourceVersion", resource_version.as_deref())?;
        Ok(Self {
            labels,
            fields: Fields::parse(field_selector.as_deref().unwrap_or_default())?,
            limit: number("limit", limit.as_deref())?.filter(|limit| *limit > 0),
            continue_token: continue_token.filter(|token| !token.is_empty()),
            version: version.filter(|version| *version > 0).map(ResourceVersion),
            watch: truth("watch", watch.as_deref())?,
            timeout_seconds: number("timeoutSeconds", timeout_seconds.as_deref())?,
            field_manager: field_manager.filter(|manager| !manager.is_empty()),
        })
    }
}

fn number<T: std::str::FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, ApiError> {
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| bad(name, text, "use a whole number that is not negative")))
        .transpose()
}

fn truth(name: &str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("" | "false" | "0" | "False") => Ok(false),
        Some("true" | "1" | "True") => Ok(true),
        Some(text) => Err(bad(name, text, "use true or false")),
    }
}

fn bad(name: &str, text: &str, hint: &str) -> ApiError {
    let start: String = text.chars().take(80).collect();
    ApiError::BadRequest(format!("{name}=\"{start}\": {hint}"))
}
