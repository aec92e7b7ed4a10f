//! Everything that is printed: data on stdout, the rest on stderr.

use std::io::Write as _;

use clap::ValueEnum;
use comfy_table::{Table, TableStyle};
use serde::Serialize as _;
use serde_json::Value;

use crate::{failure::Failure, view::View};

/// `-o json|yaml|name`; the default is a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputMode {
    /// Four spaces of indentation, keys in the order of the model.
    Json,
    /// Keys sorted.
    Yaml,
    /// `kind.jumpstarter.dev/name`, one a line.
    Name,
}

/// `-o name`, where nothing else makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NameOnly {
    /// `kind.jumpstarter.dev/name`.
    Name,
}

/// `-o path`, for commands whose result is a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathOnly {
    /// The bare path.
    Path,
}

/// Prints a line of data. A reader that went away is no concern of ours.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a line for people, on stderr.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints objects in the mode asked for.
pub(crate) fn print(view: &View, mode: Option<OutputMode>, namespace: &str) -> Result<(), Failure> {
    match mode {
        Some(OutputMode::Json) => say(&json(&view.json)?),
        // The text ends with a line break of its own, and readers are used to one more.
        Some(OutputMode::Yaml) => say(&yaml(&view.json)?),
        Some(OutputMode::Name) => view.names.iter().for_each(|name| say(name)),
        None if view.rows.is_empty() => say(&format!("No resources found in {namespace} namespace.")),
        None => say(&table(view)),
    }
    Ok(())
}

/// JSON as existing readers get it.
pub(crate) fn json(value: &Value) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        .map_err(|error| Failure::from_error("write JSON", &error))?;
    String::from_utf8(bytes).map_err(|error| Failure::from_error("write JSON", &error))
}

/// YAML with sorted keys.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    // Readers of YAML 1.1 would take a bare `y` or `on` for a truth value.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false, yaml_12: false };
    serde_saphyr::to_string_with_options(&sorted(value), options)
        .map_err(|error| Failure::from_error("write YAML", &error))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut pairs = fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Vec<_>>();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Left-aligned columns two spaces apart, each padded to its width, nothing wrapped.
fn table(view: &View) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.force_no_tty();
    table.set_header(view.headings.clone());
    for row in &view.rows {
        table.add_row(row.clone());
    }
    let last = view.headings.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    table.to_string()
}
