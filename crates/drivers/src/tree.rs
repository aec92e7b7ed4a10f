//! From `export:` to running drivers and their reports.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jumpstarter_config::{DriverInstance, ExporterConfig, Instances};
use serde_json::Map;
use uuid::Uuid;

use crate::{Build, Driver, DriverLog, LogSink, Registry, composite::Composite};

/// Label that names a child.
const NAME: &str = "jumpstarter.dev/name";
/// Label that names the client class.
const CLIENT: &str = "jumpstarter.dev/client";
/// A chain of proxies longer than this is taken for a circle.
const MAX_DEPTH: usize = 64;

/// Why a tree could not be built.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The class is not one of ours.
    #[error(
        "driver '{path}': type '{class}' is not built in. Known: {known}. A driver written in Python runs in the Python \
         exporter: `pip install jumpstarter-cli {package}` and start that `jmp run`"
    )]
    UnknownType {
        /// Dotted path of the node.
        path: String,
        /// Its class.
        class: String,
        /// Python package that probably has it.
        package: String,
        /// Classes that exist here.
        known: String,
    },
    /// The constructor refused.
    #[error("driver '{path}' ({class}): {message}")]
    Construct {
        /// Dotted path of the node.
        path: String,
        /// Its class.
        class: String,
        /// What is wrong.
        message: String,
    },
    /// `ref` points nowhere.
    #[error("proxy driver '{path}' references nonexistent driver '{target}'")]
    BadRef {
        /// Dotted path of the proxy.
        path: String,
        /// What it points to.
        target: String,
    },
    /// `ref` leads back to itself.
    #[error("proxy driver '{path}' references '{target}', which contains the proxy itself")]
    Circle {
        /// Dotted path of the proxy.
        path: String,
        /// What it points to.
        target: String,
    },
}

/// One line of the report that clients build their own tree from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// The instance; a proxied driver appears under the same one again.
    pub uuid: Uuid,
    /// Its parent; none on the root.
    pub parent: Option<Uuid>,
    /// Name, client class and the driver's own labels.
    pub labels: BTreeMap<String, String>,
    /// Help text.
    pub description: Option<String>,
    /// Help texts by command.
    pub methods_description: BTreeMap<String, String>,
}

/// The drivers of one session.
pub struct DriverTree {
    drivers: HashMap<Uuid, Arc<dyn Driver>>,
    /// Parents first; closing goes the other way.
    order: Vec<Uuid>,
    reports: Vec<NodeReport>,
}

impl DriverTree {
    /// Builds the tree of `config` with fresh instances; children come before their parents.
    pub fn build(config: &ExporterConfig, registry: &Registry, logs: &Arc<dyn LogSink>) -> Result<Self, TreeError> {
        let builder = Builder { registry, logs };
        let children = builder.children(&config.export, "")?;
        let root = Node {
            uuid: Uuid::new_v4(),
            driver: Arc::new(Composite),
            description: config.description.clone(),
            methods_description: BTreeMap::new(),
            children,
        };
        let mut tree = Self { drivers: HashMap::new(), order: Vec::new(), reports: Vec::new() };
        tree.adopt(&root);
        let root = Entry::Node(root);
        report(&root, &root, None, None, "", 0, &mut tree.reports)?;
        Ok(tree)
    }

    fn adopt(&mut self, node: &Node) {
        self.drivers.insert(node.uuid, Arc::clone(&node.driver));
        self.order.push(node.uuid);
        for (_, child) in &node.children {
            if let Entry::Node(child) = child {
                self.adopt(child);
            }
        }
    }

    /// The driver `uuid`.
    #[must_use]
    pub fn get(&self, uuid: &Uuid) -> Option<&Arc<dyn Driver>> {
        self.drivers.get(uuid)
    }

    /// Reports of all nodes, depth first, a parent before its children.
    #[must_use]
    pub fn reports(&self) -> &[NodeReport] {
        &self.reports
    }

    /// Brings every device to its default state; a failure is logged and the rest goes on.
    pub async fn reset(&self) {
        for driver in self.order.iter().filter_map(|uuid| self.drivers.get(uuid)) {
            if let Err(err) = driver.reset().await {
                tracing::warn!(client = driver.client(), %err, "reset a driver");
            }
        }
    }

    /// Closes every driver, children first; a failure is logged and the rest goes on.
    pub async fn close(&self) {
        for driver in self.order.iter().rev().filter_map(|uuid| self.drivers.get(uuid)) {
            if let Err(err) = driver.close().await {
                tracing::warn!(client = driver.client(), %err, "close a driver");
            }
        }
    }
}

struct Node {
    uuid: Uuid,
    driver: Arc<dyn Driver>,
    description: Option<String>,
    methods_description: BTreeMap<String, String>,
    children: Vec<(String, Entry)>,
}

enum Entry {
    Node(Node),
    Proxy(String),
}

struct Builder<'a> {
    registry: &'a Registry,
    logs: &'a Arc<dyn LogSink>,
}

impl Builder<'_> {
    fn children(&self, instances: &Instances, parent: &str) -> Result<Vec<(String, Entry)>, TreeError> {
        let child = |(name, instance): (&str, &DriverInstance)| {
            let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
            Ok((name.to_owned(), self.entry(instance, &path)?))
        };
        instances.iter().map(child).collect()
    }

    fn entry(&self, instance: &DriverInstance, path: &str) -> Result<Entry, TreeError> {
        Ok(match instance {
            DriverInstance::Proxy { r#ref } => Entry::Proxy(r#ref.clone()),
            DriverInstance::Composite { children } => Entry::Node(Node {
                uuid: Uuid::new_v4(),
                driver: Arc::new(Composite),
                description: None,
                methods_description: BTreeMap::new(),
                children: self.children(children, path)?,
            }),
            DriverInstance::Driver { r#type, description, methods_description, config, children } => {
                let children = self.children(children, path)?;
                Entry::Node(Node {
                    uuid: Uuid::new_v4(),
                    driver: self.driver(r#type, config, &children, path)?,
                    description: description.clone(),
                    methods_description: texts(methods_description),
                    children,
                })
            }
        })
    }

    fn driver(
        &self,
        class: &str,
        config: &Map<String, serde_json::Value>,
        children: &[(String, Entry)],
        path: &str,
    ) -> Result<Arc<dyn Driver>, TreeError> {
        let constructor = self.registry.get(class).ok_or_else(|| TreeError::UnknownType {
            path: path.to_owned(),
            class: class.to_owned(),
            package: class.split('.').next().unwrap_or_default().replace('_', "-"),
            known: self.registry.classes().collect::<Vec<_>>().join(", "),
        })?;
        let children: Vec<_> = children
            .iter()
            .filter_map(|(name, entry)| match entry {
                Entry::Node(node) => Some((name.clone(), Arc::clone(&node.driver))),
                Entry::Proxy(_) => None,
            })
            .collect();
        let short = class.rsplit('.').next().unwrap_or(class);
        let log = DriverLog::new(short, Arc::clone(self.logs));
        constructor(Build { config, children: &children, log }).map_err(|message| TreeError::Construct {
            path: path.to_owned(),
            class: class.to_owned(),
            message,
        })
    }
}

/// Appends the reports of `entry` and what is below it.
fn report(
    root: &Entry,
    entry: &Entry,
    parent: Option<Uuid>,
    name: Option<&str>,
    path: &str,
    depth: usize,
    out: &mut Vec<NodeReport>,
) -> Result<(), TreeError> {
    let node = match entry {
        Entry::Node(node) => node,
        Entry::Proxy(target) => {
            let (path, target) = (path.to_owned(), target.clone());
            if depth > MAX_DEPTH {
                return Err(TreeError::Circle { path, target });
            }
            let Some(found) = find(root, &target) else {
                return Err(TreeError::BadRef { path, target });
            };
            return report(root, found, parent, name, &path, depth + 1, out);
        }
    };
    if depth > MAX_DEPTH {
        return Err(TreeError::Circle { path: path.to_owned(), target: name.unwrap_or_default().to_owned() });
    }
    let mut labels = node.driver.extra_labels();
    labels.insert(CLIENT.to_owned(), node.driver.client().to_owned());
    if let Some(name) = name {
        labels.insert(NAME.to_owned(), name.to_owned());
    }
    out.push(NodeReport {
        uuid: node.uuid,
        parent,
        labels,
        description: node.description.clone(),
        methods_description: node.methods_description.clone(),
    });
    for (name, child) in &node.children {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        report(root, child, Some(node.uuid), Some(name), &path, depth + 1, out)?;
    }
    Ok(())
}

/// The node at the dotted path `target` below `root`, not looking through proxies.
fn find<'a>(root: &'a Entry, target: &str) -> Option<&'a Entry> {
    target.split('.').try_fold(root, |entry, step| match entry {
        Entry::Node(node) => node.children.iter().find(|(name, _)| name == step).map(|(_, child)| child),
        Entry::Proxy(_) => None,
    })
}

fn texts(map: &Map<String, serde_json::Value>) -> BTreeMap<String, String> {
    map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
