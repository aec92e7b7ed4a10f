//! The driver tree of an exporter.
use std::collections::{BTreeMap, HashMap};

use jumpstarter_protocol::v1::GetReportResponse;

/// What an exporter says it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Identity of the exporter process.
    pub uuid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Greeting for interactive shells.
    pub motd: String,
    /// Drivers by depth, a parent before its children.
    pub drivers: Vec<DriverNode>,
}

/// One driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverNode {
    /// Dotted names from the root; empty for the root itself.
    pub path: String,
    /// The instance to call.
    pub uuid: String,
    /// Import path of its client class.
    pub client: String,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// Help text.
    pub description: Option<String>,
    /// Help text of methods.
    pub methods_description: BTreeMap<String, String>,
}

impl Report {
    /// The driver at a dotted path.
    #[must_use]
    pub fn driver(&self, path: &str) -> Option<&DriverNode> {
        self.drivers.iter().find(|driver| driver.path == path)
    }

    pub(crate) fn from_proto(report: GetReportResponse) -> Self {
        // A proxied driver appears again under the same uuid; its children follow the last appearance.
        let mut paths: HashMap<String, String> = HashMap::new();
        let mut drivers = Vec::new();
        for node in report.reports {
            let parent = node.parent_uuid.filter(|uuid| !uuid.is_empty()).and_then(|uuid| paths.get(&uuid).cloned());
            let name = node.labels.get("jumpstarter.dev/name").cloned().unwrap_or_default();
            let path = match parent {
                Some(parent) if !parent.is_empty() => format!("{parent}.{name}"),
                _ => name,
            };
            paths.insert(node.uuid.clone(), path.clone());
            drivers.push(DriverNode {
                path,
                uuid: node.uuid,
                client: node.labels.get("jumpstarter.dev/client").cloned().unwrap_or_default(),
                labels: node.labels.into_iter().collect(),
                description: node.description,
                methods_description: node.methods_description.into_iter().collect(),
            });
        }
        Self { uuid: report.uuid, labels: report.labels.into_iter().collect(), motd: report.motd, drivers }
    }
}
