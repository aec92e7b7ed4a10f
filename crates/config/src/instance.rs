//! The driver tree as written under `export:`.
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};

/// Named instances in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Instances(Vec<(String, DriverInstance)>);

impl Instances {
    /// Name and instance, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &DriverInstance)> {
        self.0.iter().map(|(name, instance)| (name.as_str(), instance))
    }

    /// The instance called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&DriverInstance> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, instance)| instance)
    }

    /// Nothing is exported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>> FromIterator<(K, DriverInstance)> for Instances {
    fn from_iter<T: IntoIterator<Item = (K, DriverInstance)>>(iter: T) -> Self {
        Self(iter.into_iter().map(|(name, instance)| (name.into(), instance)).collect())
    }
}

impl Serialize for Instances {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, instance) in &self.0 {
            map.serialize_entry(name, instance)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        let parse = |(name, value)| match serde_json::from_value(value) {
            Ok(instance) => Ok((name, instance)),
            Err(err) => Err(D::Error::custom(format!("driver '{name}': {err}"))),
        };
        map.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// One node of the driver tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DriverInstance {
    /// A driver of a named class.
    Driver {
        /// Python class path that names the driver.
        r#type: String,
        /// Help text.
        description: Option<String>,
        /// Help texts by method.
        methods_description: Map<String, Value>,
        /// Constructor keywords.
        config: Map<String, Value>,
        /// Child drivers.
        children: Instances,
    },
    /// Another node again, by its dotted path from the root.
    Proxy {
        /// Dotted path.
        r#ref: String,
    },
    /// A group without behaviour.
    Composite {
        /// Child drivers.
        children: Instances,
    },
}

impl DriverInstance {
    /// A driver of class `class` without configuration.
    pub fn of_type(class: impl Into<String>) -> Self {
        Self::Driver {
            r#type: class.into(),
            description: None,
            methods_description: Map::new(),
            config: Map::new(),
            children: Instances::default(),
        }
    }
}

impl<'de> Deserialize<'de> for DriverInstance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Typed {
            r#type: String,
            #[serde(default)]
            description: Option<String>,
            #[serde(default)]
            methods_description: std::collections::BTreeMap<String, String>,
            #[serde(default)]
            config: Map<String, Value>,
            #[serde(default)]
            children: Instances,
        }
        #[derive(Deserialize)]
        struct Group {
            #[serde(default)]
            children: Instances,
        }
        let Value::Object(map) = Value::deserialize(deserializer)? else {
            return Err(D::Error::custom("expected a mapping with `type`, `ref` or `children`"));
        };
        let has = |key: &str| map.contains_key(key);
        if has("type") {
            let Typed { r#type, description, methods_description, config, children } =
                serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?;
            let methods_description = methods_description.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
            return Ok(Self::Driver { r#type, description, methods_description, config, children });
        }
        if has("ref") && !has("children") {
            return match map.get("ref") {
                Some(Value::String(target)) => Ok(Self::Proxy { r#ref: target.clone() }),
                _ => Err(D::Error::custom("`ref` must be the dotted path of another driver")),
            };
        }
        let Group { children } = serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?;
        Ok(Self::Composite { children })
    }
}
