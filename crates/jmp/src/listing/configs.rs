//! Configuration files.
use jumpstarter_config::{ClientConfig, ExporterConfig};
use serde_json::{Map, Value, json};

use super::View;
use crate::failure::Failure;

/// Clients; `current` is the alias of the one in use. Refresh tokens are left out: they are worth more than a token,
/// and nobody needs them from a list.
pub(crate) fn clients(configs: &[ClientConfig], current: Option<&str>) -> Result<View, Failure> {
    let mut items = Vec::new();
    for config in configs {
        let mut fields = Map::new();
        fields.insert("alias".to_owned(), json!(config.alias));
        fields.insert("path".to_owned(), json!(config.path));
        fields.extend(written(config)?);
        fields.remove("refresh_token");
        fields.entry("token").or_insert(Value::Null);
        fields.entry("endpoint").or_insert(Value::Null);
        let leases = serde_json::to_value(&config.leases).map_err(|error| failed(&error))?;
        fields.entry("leases").or_insert(leases);
        items.push(Value::Object(fields));
    }
    let row = |config: &ClientConfig| {
        vec![
            if current == Some(&config.alias) { "*" } else { "" }.to_owned(),
            config.alias.clone(),
            config.endpoint.clone().unwrap_or_default(),
            path(config.path.as_deref()),
        ]
    };
    Ok(View {
        json: json!({
            "apiVersion": jumpstarter_model::API_VERSION,
            "currentConfig": current,
            "items": items,
            "kind": "ClientConfigList",
        }),
        headings: vec!["CURRENT", "ALIAS", "ENDPOINT", "PATH"],
        rows: configs.iter().map(row).collect(),
        names: configs.iter().map(|config| config.alias.clone()).collect(),
    })
}

/// Exporters.
pub(crate) fn exporters(configs: &[ExporterConfig]) -> Result<View, Failure> {
    let mut items = Vec::new();
    for config in configs {
        let mut fields = Map::new();
        fields.insert("alias".to_owned(), json!(config.alias));
        fields.extend(written(config)?);
        fields.insert("path".to_owned(), json!(config.path));
        items.push(Value::Object(fields));
    }
    Ok(View {
        json: json!({
            "apiVersion": jumpstarter_model::API_VERSION,
            "items": items,
            "kind": "ExporterConfigList",
        }),
        headings: vec!["ALIAS", "PATH"],
        rows: configs.iter().map(|config| vec![config.alias.clone(), path(config.path.as_deref())]).collect(),
        names: configs.iter().map(|config| config.alias.clone()).collect(),
    })
}

fn written<T: serde::Serialize>(config: &T) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(config).map_err(|error| failed(&error))? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn failed(error: &serde_json::Error) -> Failure {
    Failure::from_error("show the configuration", error)
}

fn path(path: Option<&std::path::Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
