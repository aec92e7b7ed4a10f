//! Everything that is printed: data on stdout, the rest on stderr.

use std::{io::Write as _, path::Path};

use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color, Table, TableStyle};
use serde::Serialize as _;
use serde_json::Value;

use crate::{
    failure::Failure,
    terminal::{self, Tone},
    view::View,
};

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

/// `-o json|yaml|name|wide`; the default is a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListMode {
    /// Four spaces of indentation, keys in the order of the model.
    Json,
    /// Keys sorted.
    Yaml,
    /// Bare names, one a line.
    Name,
    /// A table with everything.
    Wide,
}

impl From<OutputMode> for ListMode {
    fn from(mode: OutputMode) -> Self {
        match mode {
            OutputMode::Json => Self::Json,
            OutputMode::Yaml => Self::Yaml,
            OutputMode::Name => Self::Name,
        }
    }
}

/// `-o json|yaml`; the default is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataMode {
    /// Four spaces of indentation.
    Json,
    /// Keys sorted.
    Yaml,
}

impl From<DataMode> for ListMode {
    fn from(mode: DataMode) -> Self {
        match mode {
            DataMode::Json => Self::Json,
            DataMode::Yaml => Self::Yaml,
        }
    }
}

/// `-o name`, where nothing else makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NameOnly {
    /// Names, one a line.
    Name,
}

/// `-o path`, for commands whose result is a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathOnly {
    /// The bare path.
    Path,
}

/// `-o path` of a command.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PathArgs {
    /// Output mode; `path` for the path of the file.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<PathOnly>,
}

impl PathArgs {
    /// Prints the path when it was asked for.
    pub(crate) fn say(self, path: &Path) {
        if self.output == Some(PathOnly::Path) {
            say(&path.display().to_string());
        }
    }
}

/// Prints a line of data. A reader that went away is no concern of ours.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints data as it is.
pub(crate) fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Prints a line for people, on stderr.
pub(crate) fn complain(line: &str) {
    // In one piece, so that a spinner does not get in between.
    let _ = terminal::Lines.write_all(format!("{line}\n").as_bytes());
}

/// Prints a warning.
pub(crate) fn warn(text: &str) {
    complain(&format!("{} {text}", terminal::paint("Warning:", Tone::Warning, terminal::stderr_colours())));
}

/// Prints an error.
pub(crate) fn error(text: &str) {
    let text = terminal::paint(text, Tone::Bad, terminal::stderr_colours());
    complain(&format!("Error: {text}"));
}

/// Prints objects in the mode asked for.
pub(crate) fn print(view: &View, mode: Option<OutputMode>, namespace: &str) -> Result<(), Failure> {
    if mode.is_none() && view.rows.is_empty() {
        say(&format!("No resources found in {namespace} namespace."));
        return Ok(());
    }
    write(&rendered(view, mode.map(Into::into))?);
    Ok(())
}

/// The text of objects in the mode asked for.
pub(crate) fn rendered(view: &View, mode: Option<ListMode>) -> Result<String, Failure> {
    Ok(match mode {
        Some(ListMode::Json) => json(&view.json)? + "\n",
        // The text ends with a line break of its own, and readers are used to one more.
        Some(ListMode::Yaml) => yaml(&view.json)? + "\n",
        Some(ListMode::Name) => view.names.iter().flat_map(|name| [name.as_str(), "\n"]).collect(),
        None | Some(ListMode::Wide) if view.rows.is_empty() => "No resources found.\n".to_owned(),
        None | Some(ListMode::Wide) => table(view, terminal::stdout_colours()) + "\n",
    })
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
pub(crate) fn table(view: &View, colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.force_no_tty();
    if colours {
        table.enforce_styling();
    }
    table.set_header(view.headings.clone());
    for row in &view.rows {
        let cells = row.iter().zip(&view.headings).map(|(text, heading)| match tone(heading, text) {
            Some(tone) if colours => Cell::new(text).fg(colour(tone)),
            _ => Cell::new(text),
        });
        table.add_row(cells);
    }
    let last = view.headings.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    table.to_string()
}

fn colour(tone: Tone) -> Color {
    match tone {
        Tone::Good => Color::Green,
        Tone::Warning => Color::Yellow,
        Tone::Bad => Color::Red,
    }
}

/// What the words of some columns mean. The words say it too: colour is never the only sign.
fn tone(heading: &str, text: &str) -> Option<Tone> {
    if !matches!(heading, "ENABLED" | "ONLINE" | "STATUS" | "LEASE STATUS" | "REMAINING") {
        return None;
    }
    match text {
        "yes" | "AVAILABLE" | "Available" | "In-Use" | "LEASE_READY" | "LeaseReady" => Some(Tone::Good),
        "no" | "OFFLINE" | "Offline" | "expired" | "Expired" => Some(Tone::Bad),
        "Waiting" | "BEFORE_LEASE_HOOK" | "AFTER_LEASE_HOOK" => Some(Tone::Warning),
        text if text.ends_with("_FAILED") || text.ends_with("Failed") => Some(Tone::Bad),
        _ => None,
    }
}
