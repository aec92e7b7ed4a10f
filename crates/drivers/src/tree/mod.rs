//! From `export:` to running drivers and their reports.
mod plan;

use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use jumpstarter_config::{DriverInstance, ExporterConfig, Instances};
use serde_json::Map;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    Build, Built, Driver, DriverLog, HostError, HostedEntry, HostedNode, HostedSession, HostedTree, LogLevel, LogSink,
    Registry, composite::Composite, guard::Guard, storage::Resources,
};

use plan::Plan;

/// The class that stands for another node, its path in the key `ref`.
const PROXY: &str = "jumpstarter_driver_composite.driver.Proxy";
/// A constructor that takes longer hangs: devices are looked for, not waited for.
const BUILD_LIMIT: Duration = Duration::from_mins(1);
/// A driver that takes longer to close hangs, and the next lease waits for it. Ending a process group takes 5 s.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

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
    /// Drivers that run in another process could not be started.
    #[error(transparent)]
    Hosted(HostError),
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
    hosted: Option<Arc<dyn HostedSession>>,
    resources: Resources,
}

impl DriverTree {
    /// Builds the tree of `config` with fresh instances; children come before their parents.
    ///
    /// What was built before a failure is closed again.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future leaves what was built so far unclosed.
    pub async fn build(
        config: &ExporterConfig,
        registry: &Registry,
        logs: &Arc<dyn LogSink>,
    ) -> Result<Self, TreeError> {
        let plan = Plan::new(&config.export, registry);
        let (hosted, session) = match registry.host() {
            Some(host) if !plan.is_empty() => {
                let started = host.start(&plan.skeleton(&config.export), Arc::clone(logs)).await;
                let HostedTree { children, session } = started.map_err(TreeError::Hosted)?;
                (children, Some(session))
            }
            _ => (Vec::new(), None),
        };
        let resources = Resources::new();
        let mut builder = Builder { registry, logs, plan: &plan, built: Vec::new(), resources: resources.clone() };
        let tree = match builder.children(&config.export, "", hosted).await {
            Ok(children) => Self::assemble(config, children, session.clone(), resources),
            Err(err) => Err(err),
        };
        if tree.is_err() {
            for driver in builder.built.iter().rev() {
                close(&**driver).await;
            }
            close_hosted(session.as_ref()).await;
        }
        tree
    }

    fn assemble(
        config: &ExporterConfig,
        children: Vec<(String, Entry)>,
        hosted: Option<Arc<dyn HostedSession>>,
        resources: Resources,
    ) -> Result<Self, TreeError> {
        let root = Node {
            uuid: Uuid::new_v4(),
            driver: Arc::new(Composite),
            description: config.description.clone(),
            methods_description: BTreeMap::new(),
            children,
        };
        let mut tree = Self { drivers: HashMap::new(), order: Vec::new(), reports: Vec::new(), hosted, resources };
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

    /// Where the streams of clients wait for the calls that name them.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.resources
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
        if let Some(hosted) = &self.hosted
            && let Err(err) = hosted.reset().await
        {
            tracing::warn!(%err, "reset the hosted drivers");
        }
    }

    /// Closes every driver, children first; a failure is logged and the rest goes on.
    pub async fn close(&self) {
        for driver in self.order.iter().rev().filter_map(|uuid| self.drivers.get(uuid)) {
            close(&**driver).await;
        }
        close_hosted(self.hosted.as_ref()).await;
    }
}

async fn close(driver: &dyn Driver) {
    match timeout(CLOSE_LIMIT, driver.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(err)) => tracing::warn!(client = driver.client(), %err, "close a driver"),
        Err(_) => tracing::warn!(client = driver.client(), limit = ?CLOSE_LIMIT, "a driver did not close in time"),
    }
}

async fn close_hosted(session: Option<&Arc<dyn HostedSession>>) {
    if let Some(session) = session
        && let Err(err) = session.close().await
    {
        tracing::warn!(%err, "close the hosted drivers");
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

impl From<HostedEntry> for Entry {
    fn from(entry: HostedEntry) -> Self {
        match entry {
            HostedEntry::Proxy(target) => Self::Proxy(target),
            HostedEntry::Node(HostedNode { uuid, driver, description, methods_description, children }) => {
                let children = children.into_iter().map(|(name, child)| (name, child.into())).collect();
                Self::Node(Node { uuid, driver, description, methods_description, children })
            }
        }
    }
}

struct Builder<'a> {
    registry: &'a Registry,
    logs: &'a Arc<dyn LogSink>,
    plan: &'a Plan,
    resources: Resources,
    /// Everything that must be closed when the rest fails.
    built: Vec<Arc<dyn Driver>>,
}

impl Builder<'_> {
    /// `hosted` is what the host runs below the same parent.
    fn children<'s>(
        &'s mut self,
        instances: &'s Instances,
        parent: &'s str,
        hosted: Vec<(String, HostedEntry)>,
    ) -> BoxFuture<'s, Result<Vec<(String, Entry)>, TreeError>> {
        async move {
            let mut hosted: HashMap<_, _> = hosted.into_iter().collect();
            let mut children = Vec::new();
            for (name, instance) in instances.iter() {
                let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
                let entry = match hosted.remove(name) {
                    Some(entry) if self.plan.is_top(&path) => entry.into(),
                    Some(HostedEntry::Node(group)) => self.entry(instance, &path, group.children).await?,
                    _ => self.entry(instance, &path, Vec::new()).await?,
                };
                children.push((name.to_owned(), entry));
            }
            Ok(children)
        }
        .boxed()
    }

    async fn entry(
        &mut self,
        instance: &DriverInstance,
        path: &str,
        hosted: Vec<(String, HostedEntry)>,
    ) -> Result<Entry, TreeError> {
        if let Some(target) = proxy_target(instance) {
            return Ok(Entry::Proxy(target.to_owned()));
        }
        Ok(match instance {
            DriverInstance::Proxy { r#ref } => Entry::Proxy(r#ref.clone()),
            DriverInstance::Composite { children } => Entry::Node(Node {
                uuid: Uuid::new_v4(),
                driver: Arc::new(Composite),
                description: None,
                methods_description: BTreeMap::new(),
                children: self.children(children, path, hosted).await?,
            }),
            DriverInstance::Driver { r#type, description, methods_description, config, children } => {
                let children = self.children(children, path, hosted).await?;
                let built = self.construct(r#type, config, &children, path).await?;
                let mut node = self.node(built, path);
                node.description.clone_from(description);
                node.methods_description.extend(texts(methods_description));
                // A child of the file stands in for one of the same name that the driver would bring.
                node.children.retain(|(name, _)| !children.iter().any(|(given, _)| given == name));
                node.children.splice(0..0, children);
                Entry::Node(node)
            }
        })
    }

    /// A constructed driver and what it brought along, guarded.
    fn node(&mut self, built: Built, path: &str) -> Node {
        let Built { driver, children, methods_description } = built;
        let driver: Arc<dyn Driver> = Arc::new(Guard::new(driver, path));
        self.built.push(Arc::clone(&driver));
        let children = children
            .into_iter()
            .map(|(name, child)| {
                let node = self.node(child, &format!("{path}.{name}"));
                (name, Entry::Node(node))
            })
            .collect();
        Node { uuid: Uuid::new_v4(), driver, description: None, methods_description, children }
    }

    async fn construct(
        &self,
        class: &str,
        config: &Map<String, serde_json::Value>,
        children: &[(String, Entry)],
        path: &str,
    ) -> Result<Built, TreeError> {
        let constructor = self.registry.get(class).ok_or_else(|| TreeError::UnknownType {
            path: path.to_owned(),
            class: class.to_owned(),
            package: class.split('.').next().unwrap_or_default().replace('_', "-"),
            known: self.registry.classes().collect::<Vec<_>>().join(", "),
        })?;
        let refused = |message| TreeError::Construct { path: path.to_owned(), class: class.to_owned(), message };
        let (mut drivers, mut proxies) = (Vec::new(), Vec::new());
        for (name, entry) in children {
            match entry {
                Entry::Node(node) => drivers.push((name.clone(), Arc::clone(&node.driver))),
                Entry::Proxy(_) => proxies.push(name.clone()),
            }
        }
        let level = match config.get("log_level") {
            None | Some(serde_json::Value::Null) => LogLevel::Info,
            Some(level) => level.as_str().and_then(LogLevel::parse).ok_or_else(|| {
                refused(format!("config key 'log_level': {level} is none of DEBUG, INFO, WARNING, ERROR, CRITICAL"))
            })?,
        };
        let short = class.rsplit('.').next().unwrap_or(class);
        let log = DriverLog::new(short, Arc::clone(self.logs)).from_level(level);
        let resources = self.resources.for_driver(log.clone());
        let build = Build { config: config.clone(), children: drivers, proxies, log, resources };
        let made = AssertUnwindSafe(async { constructor(build).await }).catch_unwind();
        match timeout(BUILD_LIMIT, made).await {
            Ok(Ok(built)) => built.map_err(refused),
            Ok(Err(_)) => Err(refused("the constructor panicked: a fault of the driver itself".to_owned())),
            Err(_) => Err(refused(format!("not ready after {} s", BUILD_LIMIT.as_secs()))),
        }
    }
}

/// What an instance of the proxy class points to.
fn proxy_target(instance: &DriverInstance) -> Option<&str> {
    match instance {
        DriverInstance::Proxy { r#ref } => Some(r#ref),
        DriverInstance::Driver { r#type, config, .. } if r#type == PROXY => config.get("ref")?.as_str(),
        DriverInstance::Driver { .. } | DriverInstance::Composite { .. } => None,
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
