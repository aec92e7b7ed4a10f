//! What the fuzz target runs: outside bytes as a configuration. Panics only when a promise is broken.

#![expect(clippy::missing_panics_doc, reason = "to panic on a broken promise is what they are for")]

use k8s_openapi::api::core::v1::ConfigMap;

use crate::{ClusterConfig, Fault};

/// Longest text of one fault: a hostile value must not flood the log.
const LONGEST_FAULT: usize = 4096;

/// Bytes as each of the three keys: read or refused, with short messages on single lines.
pub fn config_map(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for keys in [&["config", "router"][..], &["authentication", "router"]] {
        let map = ConfigMap {
            data: Some(keys.iter().map(|key| ((*key).to_owned(), text.to_owned())).collect()),
            ..ConfigMap::default()
        };
        match ClusterConfig::from_config_map(&map) {
            Ok(config) => {
                assert!(config.max_tags > 0, "no tags");
                assert!(!config.internal.token_lifetime.is_zero(), "no life");
                assert!(config.jwt.is_empty(), "accepted what is not supported");
                assert!(crate::changes(&config, &config).is_empty(), "differs from itself");
            }
            Err(faults) => {
                assert!(!faults.faults().is_empty(), "refused without a reason");
                faults.faults().iter().for_each(check_fault);
            }
        }
    }
}

fn check_fault(fault: &Fault) {
    let text = fault.message.as_str();
    assert!(text.len() <= LONGEST_FAULT, "long message");
    assert!(!text.contains('\0'), "control characters: {text:?}");
}
