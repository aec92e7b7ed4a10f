//! The child's tree as the exporter takes it.
use std::{collections::BTreeMap, sync::Arc};

use jumpstarter_drivers::{HostError, HostedEntry, HostedNode};
use serde_json::{Map, Value};

use crate::{
    driver::{HostedDriver, Link},
    wire::Shape,
};

const CLIENT: &str = "jumpstarter.dev/client";
const NAME: &str = "jumpstarter.dev/name";
/// Deeper trees than this are no trees.
const MAX_DEPTH: usize = 64;

/// The entries for `shapes`, whose calls go through `link`.
pub(crate) fn entries(
    shapes: Map<String, Value>,
    link: &Arc<Link>,
    parent: &str,
    depth: usize,
) -> Result<Vec<(String, HostedEntry)>, HostError> {
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            let strange = |message: String| HostError { path: Some(path.clone()), message };
            if depth > MAX_DEPTH {
                return Err(strange("the tree is too deep".to_owned()));
            }
            let shape = serde_json::from_value(shape)
                .map_err(|err| strange(format!("the Python process reported what is no driver: {err}")))?;
            let entry = match shape {
                Shape::Proxy { r#ref } => HostedEntry::Proxy(r#ref),
                Shape::Node { uuid, labels, description, methods_description, children } => {
                    let client = labels.get(CLIENT).cloned().unwrap_or_default();
                    let labels: BTreeMap<_, _> =
                        labels.into_iter().filter(|(key, _)| key != CLIENT && key != NAME).collect();
                    HostedEntry::Node(HostedNode {
                        uuid,
                        driver: Arc::new(HostedDriver::new(uuid, client, labels, path.clone(), Arc::clone(link))),
                        description,
                        methods_description,
                        children: entries(children, link, &path, depth + 1)?,
                    })
                }
            };
            Ok((name, entry))
        })
        .collect()
}
