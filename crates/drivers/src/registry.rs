//! Driver classes by the name that configurations use.
use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Driver, DriverLog,
    composite::Composite,
    network::{EchoNetwork, TcpNetwork},
    power::MockPower,
};

/// What a constructor gets.
pub struct Build<'a> {
    /// The `config` mapping.
    pub config: &'a Map<String, Value>,
    /// Children, already built, in the order of the file.
    pub children: &'a [(String, Arc<dyn Driver>)],
    /// The driver's log.
    pub log: DriverLog,
}

impl Build<'_> {
    /// The `config` as a type; keys not in `known` are warned about, not refused.
    pub fn config<T: DeserializeOwned>(&self, known: &[&str]) -> Result<T, String> {
        for key in self.config.keys().filter(|key| !known.contains(&key.as_str()) && !BASE_KEYS.contains(&key.as_str()))
        {
            self.log.warning(&format!("config key '{key}' is not known to this driver and ignored"));
        }
        serde_json::from_value(Value::Object(self.config.clone())).map_err(|err| format!("config: {err}"))
    }
}

/// Keys that every driver accepts.
const BASE_KEYS: [&str; 3] = ["log_level", "labels", "uuid"];

type Constructor = Arc<dyn Fn(Build<'_>) -> Result<Arc<dyn Driver>, String> + Send + Sync>;

/// The driver classes that can be built here.
#[derive(Clone)]
pub struct Registry(BTreeMap<String, Constructor>);

impl Registry {
    /// Every driver of this crate.
    #[must_use]
    pub fn builtin() -> Self {
        let mut all = Self(BTreeMap::new());
        all.add("jumpstarter_driver_composite.driver.Composite", |build| {
            build.config::<Map<String, Value>>(&[])?;
            Ok(Arc::new(Composite))
        });
        for class in ["MockPower", "SyncMockPower"] {
            all.add(format!("jumpstarter_driver_power.driver.{class}"), |build| {
                build.config::<Map<String, Value>>(&[])?;
                Ok(Arc::new(MockPower::new(build.log)))
            });
        }
        all.add("jumpstarter_driver_network.driver.EchoNetwork", |build| {
            build.config::<Map<String, Value>>(&[])?;
            Ok(Arc::new(EchoNetwork))
        });
        all.add("jumpstarter_driver_network.driver.TcpNetwork", |build| {
            Ok(Arc::new(build.config::<TcpNetwork>(&TcpNetwork::KEYS)?))
        });
        all
    }

    /// Adds or replaces a class. The constructor's error is a text for the operator.
    pub fn add(
        &mut self,
        class: impl Into<String>,
        constructor: impl Fn(Build<'_>) -> Result<Arc<dyn Driver>, String> + Send + Sync + 'static,
    ) {
        self.0.insert(class.into(), Arc::new(constructor));
    }

    /// The classes, sorted.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, class: &str) -> Option<&Constructor> {
        self.0.get(class)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}
