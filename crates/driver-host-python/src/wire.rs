//! What the child says.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// One line of the child.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Log { log: Record },
    Ready { ready: String },
    Fatal { fatal: String, module: Option<String>, python: String },
    Failed { id: u64, error: String, path: Option<String> },
    Done { id: u64, result: Value },
}

/// A record of Python's logging.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) logger: String,
    pub(crate) level: i64,
    pub(crate) text: String,
}

/// A node of the child's tree.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Shape {
    Proxy {
        r#ref: String,
    },
    Node {
        uuid: Uuid,
        labels: BTreeMap<String, String>,
        description: Option<String>,
        methods_description: BTreeMap<String, String>,
        /// Shapes again; a map that keeps the child's order.
        children: Map<String, Value>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let parse = |text: &str| serde_json::from_str::<Line>(text);
        assert!(matches!(parse(r#"{"id": 1, "result": null}"#), Ok(Line::Done { id: 1, .. })));
        assert!(matches!(parse(r#"{"id": 1, "error": "x", "path": "a.b"}"#), Ok(Line::Failed { .. })));
        assert!(matches!(parse(r#"{"id": 1, "error": "x"}"#), Ok(Line::Failed { path: None, .. })));
        assert!(matches!(parse(r#"{"ready": "/usr/bin/python3"}"#), Ok(Line::Ready { .. })));
        assert!(matches!(parse(r#"{"fatal": "x", "module": null, "python": "p"}"#), Ok(Line::Fatal { .. })));
        assert!(matches!(parse(r#"{"log": {"logger": "a", "level": 20, "text": "t"}}"#), Ok(Line::Log { .. })));
        assert!(parse(r#"{"what": 1}"#).is_err());
    }
}
