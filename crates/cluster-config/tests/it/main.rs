//! Configurations as people and operators write them.

mod environment;
mod faults;
mod fuzz_smoke;
mod good;
mod jwt;
mod reload;

use std::collections::BTreeMap;

use jumpstarter_cluster_config::{ClusterConfig, Faults};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

/// A router key that is right.
const ROUTER: &str = "default:\n  endpoint: router.example.com:443\n";

fn config_map(data: &[(&str, &str)]) -> ConfigMap {
    let data: BTreeMap<String, String> = data.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some("jumpstarter-controller".into()),
            namespace: Some("lab".into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// Reads a `config` beside a router that is right.
fn read(config: &str) -> Result<ClusterConfig, Faults> {
    ClusterConfig::from_config_map(&config_map(&[("config", config), ("router", ROUTER)]))
}

#[track_caller]
fn good(config: &str) -> ClusterConfig {
    read(config).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of a `config`, one a line, without the heading.
#[track_caller]
fn bad(config: &str) -> String {
    let faults = read(config).expect_err("accepted");
    faults.faults().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
