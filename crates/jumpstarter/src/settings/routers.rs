//! Routers in the settings: as one text, or in the file as a map.

use std::{collections::BTreeMap, convert::Infallible, fmt, str::FromStr};

use jumpstarter_controller::RouterTarget;
use jumpstarter_transport::Endpoint;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// What says in a text that the router is not to be probed.
const UNPROBED: &str = "unprobed";

/// One router as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WrittenRouter {
    /// `HOST:PORT,key=value,…`
    Text(String),
    /// A map, of the file alone.
    Entry(Entry),
}

/// One router as a map.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    endpoint: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default = "yes")]
    probe: bool,
}

fn yes() -> bool {
    true
}

impl FromStr for WrittenRouter {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::Text(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for WrittenRouter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = WrittenRouter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a router as HOST:PORT or as a map with `endpoint`")
            }

            fn visit_str<E>(self, text: &str) -> Result<WrittenRouter, E> {
                Ok(WrittenRouter::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WrittenRouter, A::Error> {
                Entry::deserialize(MapAccessDeserializer::new(map)).map(WrittenRouter::Entry)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl WrittenRouter {
    /// The router as used.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn resolve(&self) -> Result<RouterTarget, String> {
        let target = match self {
            Self::Text(text) => parse(text)?,
            Self::Entry(Entry { endpoint, labels, probe }) => {
                RouterTarget { endpoint: endpoint.clone(), labels: labels.clone(), probe: *probe }
            }
        };
        if !super::has_port(&target.endpoint) || target.endpoint.parse::<Endpoint>().is_err() {
            return Err(format!("`{}` is not HOST:PORT", target.endpoint));
        }
        Ok(target)
    }
}

fn parse(text: &str) -> Result<RouterTarget, String> {
    let mut parts = text.split(',');
    let endpoint = parts.next().unwrap_or_default().to_owned();
    let mut target = RouterTarget { endpoint, labels: BTreeMap::new(), probe: true };
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) => {
                target.labels.insert(key.to_owned(), value.to_owned());
            }
            None if part == UNPROBED => target.probe = false,
            None => return Err(format!("`{part}` is not key=value, nor `{UNPROBED}`")),
        }
    }
    Ok(target)
}

/// All routers as used, and what is wrong with the others.
pub(crate) fn resolve(written: &[WrittenRouter], faults: &mut Vec<String>) -> Vec<RouterTarget> {
    let mut routers: Vec<RouterTarget> = Vec::new();
    for router in written {
        match router.resolve() {
            Ok(target) if routers.iter().any(|known| known.endpoint == target.endpoint) => {
                faults.push(format!("--router: `{}` is there twice", target.endpoint));
            }
            Ok(target) => routers.push(target),
            Err(fault) => faults.push(format!("--router: {fault}")),
        }
    }
    routers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoint, labels, whether it is probed.
    type Read<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);

    #[track_caller]
    fn check(yaml: &str, expected: Result<Read<'_>, &str>) {
        let written: WrittenRouter = serde_saphyr::from_str(yaml).unwrap();
        match (written.resolve(), expected) {
            (Ok(target), Ok((endpoint, labels, probe))) => {
                let labels: BTreeMap<_, _> =
                    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
                assert_eq!(target, RouterTarget { endpoint: endpoint.to_owned(), labels, probe });
            }
            (Err(fault), Err(expected)) => assert!(fault.contains(expected), "{fault}"),
            (resolved, _) => panic!("{yaml}: {resolved:?}"),
        }
    }

    #[test]
    fn a_router_is_a_text_or_a_map() {
        check("'r1.lab:8083'", Ok(("r1.lab:8083", &[], true)));
        check("'r1.lab:8083,site=a,rack=7'", Ok(("r1.lab:8083", &[("site", "a"), ("rack", "7")], true)));
        check("'[::1]:8083,unprobed'", Ok(("[::1]:8083", &[], false)));
        check("{endpoint: 'r1.lab:8083'}", Ok(("r1.lab:8083", &[], true)));
        check("{endpoint: 'r:1', labels: {site: a}, probe: false}", Ok(("r:1", &[("site", "a")], false)));
        check("r1.lab", Err("`r1.lab` is not HOST:PORT"));
        check("'r1.lab:8083,site'", Err("`site` is not key=value"));
        check("{endpoint: r1.lab}", Err("`r1.lab` is not HOST:PORT"));
        assert!(serde_saphyr::from_str::<WrittenRouter>("{endpoint: 'r:1', lables: {}}").is_err());
    }

    #[test]
    fn a_router_is_there_once() {
        let mut faults = Vec::new();
        let written = ["r:1", "r:2,site=a", "r:1,site=b"].map(|text| text.parse().unwrap());
        assert_eq!(resolve(&written, &mut faults).len(), 2);
        assert_eq!(faults, ["--router: `r:1` is there twice"]);
    }
}
