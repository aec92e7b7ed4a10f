//! `call METHOD ARGS…`: any method of any driver.
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use futures::StreamExt as _;
use jumpstarter_client::{ClientError, Value};
use tonic::Code;

use super::clients::Use;
use crate::{failure::Failure, output};

pub(super) const NAME: &str = "call";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Call a method of this driver")
        .long_about(
            "Call a method of this driver.\n\nEach argument is read as JSON (3, true, null, '{\"a\": 1}'); what is no \
             JSON is taken as text. A text that looks like JSON is written as '\"3\"'. A result that is a text is \
             printed as it is, other results as JSON, and a stream one value a line.",
        )
        .arg(
            Arg::new("stream")
                .long("stream")
                .action(ArgAction::SetTrue)
                .help("The method answers with a stream of values; found out otherwise"),
        )
        .arg(Arg::new("METHOD").required(true).help("Name of the method"))
        .arg(Arg::new("ARGS").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).help("Its arguments"))
}

pub(super) async fn run(driver: Use<'_>, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let method = matches.get_one::<String>("METHOD").map(String::as_str).unwrap_or_default();
    let arguments: Vec<Value> =
        matches.get_many::<String>("ARGS").into_iter().flatten().map(|text| value(text)).collect();
    if !matches.get_flag("stream") {
        match driver.session.call(driver.path, method, &arguments).await {
            Ok(result) => {
                show(&result)?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) if absent(&error) => {}
            Err(error) => return Err(explained(driver.path, method, error)),
        }
    }
    let values = driver.session.stream_call(driver.path, method, &arguments).await;
    let mut values = values.map_err(|error| explained(driver.path, method, error))?;
    while let Some(value) = values.next().await {
        show(&value.map_err(|error| explained(driver.path, method, error))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON, or the text itself.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn show(value: &Value) -> Result<(), Failure> {
    match value {
        Value::Null => {}
        Value::String(text) => output::say(text),
        Value::Array(_) | Value::Object(_) => output::say(&output::json(value)?),
        Value::Bool(_) | Value::Number(_) => output::say(&value.to_string()),
    }
    Ok(())
}

/// There is no method of this kind; a released exporter says so too when there is one of another kind.
fn absent(error: &ClientError) -> bool {
    matches!(error, ClientError::Exporter { status, .. } if status.code() == Code::NotFound)
}

fn explained(path: &str, method: &str, error: ClientError) -> Failure {
    if absent(&error) {
        let driver = if path.is_empty() { "the root driver".to_owned() } else { format!("driver '{path}'") };
        return Failure::new(format!(
            "{driver} has no method '{method}' that can be called; a byte stream, such as `connect`, can only be \
             connected to"
        ));
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_json_or_text() {
        for (text, expected) in [
            ("3", json!(3)),
            ("true", json!(true)),
            ("null", Value::Null),
            ("\"3\"", json!("3")),
            ("[1]", json!([1])),
            ("on", json!("on")),
            ("{", json!("{")),
            ("", json!("")),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }
}
