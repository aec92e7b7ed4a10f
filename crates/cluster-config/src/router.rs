//! Key `router`: the routers that dials are sent to.

use std::collections::BTreeMap;

use crate::{
    endpoint::{self, Port},
    read::{At, Document, Log},
};

/// One router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// Address that peers are given; without a port they take 443.
    pub endpoint: String,
    /// Affinity: exporters with the same labels prefer this router.
    pub labels: BTreeMap<String, String>,
    /// Whether the controller asks it how it fares. False for routers that only peers can reach. An addition of ours.
    pub probe: bool,
}

/// Routers by name. What the lenient format lets pass, but hardly anyone means, goes into `warnings`.
pub(crate) fn read(text: &str, log: &mut Log<'_>, warnings: &mut Vec<String>) -> BTreeMap<String, Router> {
    let Some(document) = Document::parse(text, log) else { return BTreeMap::new() };
    let entries = document.root().lenient_map(log, &mut |path| warnings.push(repeated(path)));
    let mut routers = BTreeMap::new();
    for (name, at) in entries {
        if let Some(router) = entry(&at, log, warnings) {
            routers.insert(name, router);
        }
    }
    routers
}

fn repeated(path: &str) -> String {
    format!("router: `{path}` is there twice, the last one counts")
}

fn entry(at: &At<'_>, log: &mut Log<'_>, warnings: &mut Vec<String>) -> Option<Router> {
    let mut fields = at.fields(log);
    let address = fields.require("endpoint", log).and_then(|at| {
        let text = at.filled(log)?;
        endpoint::check(&text, Port::Optional).map_err(|error| at.fault(log, error)).ok().map(|()| text)
    });
    let labels = fields
        .get("labels")
        .map(|at| at.lenient_text_map(log, &mut |path| warnings.push(repeated(path))))
        .unwrap_or_default();
    let probe = fields.get("probe").and_then(|at| at.flag(log)).unwrap_or(true);
    warnings.extend(fields.unknown().map(|(_, path)| format!("router: unknown key `{path}` is ignored")));
    Some(Router { endpoint: address?, labels, probe })
}
