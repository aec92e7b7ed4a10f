//! Scripts of the exporter's operator.
use std::{io::Write as _, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command};
use futures::StreamExt as _;
use jumpstarter_client::{DriverNode, Value};
use serde_json::{Map, json};

use super::Use;
use crate::{failure::Failure, output, values::pair};

/// Asks for their names.
pub(super) async fn methods(driver: Use<'_>) -> Result<Vec<String>, Failure> {
    let told = driver.call("get_methods", &[]).await?;
    let names = told.as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}

pub(super) fn commands(methods: &[String], node: &DriverNode) -> Vec<Command> {
    let command = |name: &String| {
        let help = node.methods_description.get(name).cloned();
        let help = help.unwrap_or_else(|| format!("Execute the {name} shell method"));
        Command::new(name.clone())
            .about(crate::j::harmless(&help))
            .arg(
                Arg::new("env")
                    .short('e')
                    .long("env")
                    .value_name("KEY=VALUE")
                    .action(ArgAction::Append)
                    .value_parser(pair)
                    .help("Environment variable of the script; may be given more than once, before the arguments"),
            )
            .arg(
                Arg::new("ARGS")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("Arguments of the script"),
            )
    };
    methods.iter().map(command).collect()
}

/// Runs a script; its exit code is that of the command.
pub(super) async fn run(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let env = matches.get_many::<(String, String)>("env").into_iter().flatten();
    let env: Map<String, Value> = env.map(|(key, value)| (key.clone(), json!(value))).collect();
    let mut arguments = vec![json!(name), Value::Object(env)];
    arguments.extend(matches.get_many::<String>("ARGS").into_iter().flatten().map(|text| json!(text)));
    let mut told = driver.session.stream_call(driver.path, "call_method", &arguments).await?;
    let mut code = 0;
    while let Some(piece) = told.next().await {
        let piece = piece?;
        if let Some(text) = piece[0].as_str() {
            output::write(text);
        }
        if let Some(text) = piece[1].as_str() {
            let mut stderr = std::io::stderr().lock();
            let _ = stderr.write_all(text.as_bytes());
            let _ = stderr.flush();
        }
        if let Some(number) = piece[2].as_f64() {
            code = exit_code(number);
        }
    }
    Ok(ExitCode::from(code))
}

/// The low byte, as processes have it; killed by signal n is told as -n.
fn exit_code(number: f64) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "codes are small whole numbers; others saturate")]
    let number = number as i64;
    let number = if number < 0 { 128 - number } else { number };
    u8::try_from(number & 0xff).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        for (number, code) in [(0.0, 0), (3.0, 3), (-9.0, 137), (256.0, 0), (f64::NAN, 0)] {
            assert_eq!(exit_code(number), code);
        }
    }
}
