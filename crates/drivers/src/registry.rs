//! Driver classes by the name that configurations use.
use std::{collections::BTreeMap, sync::Arc};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Driver, DriverHost, DriverLog,
    composite::Composite,
    keys::{BASE_KEYS, ConfigKeys},
    network, power, qemu, remote, serial, serve, shell,
    storage::Resources,
};

/// What a constructor gets.
pub struct Build {
    /// The `config` mapping.
    pub config: Map<String, Value>,
    /// Children, already built, in the order of the file; those given by `ref` are not among them.
    pub children: Vec<(String, Arc<dyn Driver>)>,
    /// Names of the children that are given by `ref`.
    pub proxies: Vec<String>,
    /// The driver's log.
    pub log: DriverLog,
    /// Opens the files that clients name in calls.
    pub resources: Resources,
}

impl Build {
    /// The `config` as a type; keys not in `known` are warned about, not refused.
    pub fn config<T: DeserializeOwned>(&self, known: &[&str]) -> Result<T, String> {
        for key in self.config.keys().filter(|key| !known.contains(&key.as_str()) && !BASE_KEYS.contains(&key.as_str()))
        {
            self.log.warning(&format!("config key '{key}' is not known to this driver and ignored"));
        }
        serde_json::from_value(Value::Object(self.config.clone())).map_err(|err| format!("config: {err}"))
    }

    /// The `config` mapping, to be read key by key.
    pub(crate) fn keys(&mut self) -> ConfigKeys {
        ConfigKeys::new(std::mem::take(&mut self.config))
    }

    /// The child `name` is configured, inline or by `ref`.
    pub(crate) fn has_child(&self, name: &str) -> bool {
        self.children.iter().any(|(n, _)| n == name) || self.proxies.iter().any(|n| n == name)
    }
}

/// What a constructor makes: a driver, and the children that it brings along itself.
pub struct Built {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// Its own children; they come after those of the file.
    pub children: Vec<(String, Built)>,
    /// Help texts by command; those of the file win.
    pub methods_description: BTreeMap<String, String>,
}

impl Built {
    /// A driver that brings no children.
    pub fn new(driver: impl Driver + 'static) -> Self {
        Self { driver: Arc::new(driver), children: Vec::new(), methods_description: BTreeMap::new() }
    }

    /// Adds a child of the driver's own.
    #[must_use]
    pub fn child(mut self, name: impl Into<String>, child: Self) -> Self {
        self.children.push((name.into(), child));
        self
    }
}

impl From<Arc<dyn Driver>> for Built {
    fn from(driver: Arc<dyn Driver>) -> Self {
        Self { driver, children: Vec::new(), methods_description: BTreeMap::new() }
    }
}

pub(crate) type Constructor = Arc<dyn Fn(Build) -> BoxFuture<'static, Result<Built, String>> + Send + Sync>;

/// Whether a configuration asks for more than a built-in class has.
type Beyond = fn(&Map<String, Value>) -> bool;

/// The driver classes that can be built here, and the host of all others.
#[derive(Clone)]
pub struct Registry {
    classes: BTreeMap<String, Constructor>,
    /// Configurations of built-in classes that need the original.
    unable: BTreeMap<String, Beyond>,
    host: Option<Arc<dyn DriverHost>>,
}

impl Registry {
    /// Every driver of this crate; other classes are refused.
    #[must_use]
    pub fn builtin() -> Self {
        let mut all = Self { classes: BTreeMap::new(), unable: BTreeMap::new(), host: None };
        all.add("jumpstarter_driver_composite.driver.Composite", |build| {
            build.config::<Map<String, Value>>(&[])?;
            Ok(Arc::new(Composite))
        });
        power::register(&mut all);
        qemu::register(&mut all);
        network::register(&mut all);
        crate::opendal::register(&mut all);
        crate::flasher::register(&mut all);
        shell::register(&mut all);
        remote::register(&mut all);
        serial::register(&mut all);
        serve::register(&mut all);
        all
    }

    /// Has classes that are not built in run by `host`.
    #[must_use]
    pub fn with_host(mut self, host: Arc<dyn DriverHost>) -> Self {
        self.host = Some(host);
        self
    }

    /// Adds or replaces a class. The constructor's error is a text for the operator.
    pub fn add(
        &mut self,
        class: impl Into<String>,
        constructor: impl Fn(Build) -> Result<Arc<dyn Driver>, String> + Send + Sync + 'static,
    ) {
        let constructor = move |build| ready(constructor(build).map(Built::from)).boxed();
        self.classes.insert(class.into(), Arc::new(constructor));
    }

    /// Adds or replaces a class whose constructor waits for the world or brings children of its own.
    pub fn add_async<F>(&mut self, class: impl Into<String>, constructor: impl Fn(Build) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Built, String>> + Send + 'static,
    {
        self.classes.insert(class.into(), Arc::new(move |build| constructor(build).boxed()));
    }

    /// Has instances of the built-in `class` whose configuration is `unable` run by the host, if there is one.
    pub(crate) fn leave_to_host(&mut self, class: &str, unable: fn(&Map<String, Value>) -> bool) {
        self.unable.insert(class.to_owned(), unable);
    }

    /// An instance that only the host can run.
    pub(crate) fn is_foreign(&self, class: &str, config: &Map<String, Value>) -> bool {
        let unable = self.unable.get(class).is_some_and(|unable| unable(config));
        !self.classes.contains_key(class) || (unable && self.host.is_some())
    }

    /// The classes, sorted.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, class: &str) -> Option<&Constructor> {
        self.classes.get(class)
    }

    pub(crate) fn host(&self) -> Option<&Arc<dyn DriverHost>> {
        self.host.as_ref()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}
