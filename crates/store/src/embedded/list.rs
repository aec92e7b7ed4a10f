//! Lists, whole or page by page.

use std::collections::BTreeMap;

use jumpstarter_model::Selector;
use rusqlite::{Connection, params};

use super::{apply, error};
use crate::{Kind, List, ListOptions, Object, ResourceVersion, StoreError};

/// Where a page ended: the version of the first page, and the last object.
struct Position {
    version: u64,
    namespace: String,
    name: String,
}

/// Lists in one snapshot. Pages after the first show what is then; watching from the first one's version, which all
/// repeat, brings whoever reads them up to date.
pub(super) fn list(
    connection: &mut Connection,
    kind: Kind,
    namespace: &str,
    options: &ListOptions,
) -> Result<List, StoreError> {
    let ListOptions { label_selector, limit, continue_token } = options;
    let sqlite = |error: rusqlite::Error| error::from_sqlite(&error);
    let transaction = connection.transaction().map_err(sqlite)?;
    let position = continue_token.as_deref().map(parse_token).transpose()?;
    let version = match &position {
        Some(position) => {
            let oldest = apply::floor(&transaction).map_err(sqlite)?;
            if position.version < oldest {
                return Err(StoreError::Gone { requested: position.version, oldest });
            }
            position.version
        }
        None => apply::last_version(&transaction).map_err(sqlite)?,
    };
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let selector = label_selector.as_ref().filter(|selector| !selector.is_empty());
    let (after_namespace, after_name) =
        position.map_or_else(Default::default, |position| (position.namespace, position.name));

    let mut items = Vec::new();
    let mut more = false;
    {
        let mut statement = transaction
            .prepare_cached(
                "SELECT labels, body FROM obj
                 WHERE kind = ?1 AND (?2 = '' OR namespace = ?2) AND (namespace, name) > (?3, ?4)
                 ORDER BY namespace, name",
            )
            .map_err(sqlite)?;
        let mut rows = statement.query(params![kind.name(), namespace, after_namespace, after_name]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let labels = row.get_ref(0).and_then(|column| Ok(column.as_str()?)).map_err(sqlite)?;
            if !selector.is_none_or(|selector| selects(selector, labels)) {
                continue;
            }
            if items.len() == limit {
                more = true;
                break;
            }
            let body = row.get_ref(1).and_then(|column| Ok(column.as_str()?)).map_err(sqlite)?;
            items.push(apply::parse(body)?);
        }
    }
    let continue_token = items.last().filter(|_| more).map(|last| token(version, last));
    Ok(List { items, resource_version: ResourceVersion(version), continue_token })
}

fn selects(selector: &Selector, labels: &str) -> bool {
    let labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap_or_default();
    selector.matches(&labels)
}

/// Names and namespaces have no slash.
fn token(version: u64, last: &Object) -> String {
    format!("{version}/{}/{}", last.namespace(), last.name())
}

fn parse_token(token: &str) -> Result<Position, StoreError> {
    let parse = || {
        let mut parts = token.splitn(3, '/');
        let version = parts.next()?.parse().ok()?;
        Some(Position { version, namespace: parts.next()?.to_owned(), name: parts.next()?.to_owned() })
    };
    parse().ok_or_else(|| StoreError::Invalid("the continue token is not one that this store gave out".to_owned()))
}
