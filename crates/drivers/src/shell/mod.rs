//! `jumpstarter_driver_shell.driver.Shell`: commands of the lab host as methods.
pub(crate) mod run;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use serde_json::{Map, json};

use crate::{
    Build, Built, Driver, DriverError, DriverLog, Registry, Value, ValueStream,
    args::{Args, kind},
    keys::ConfigKeys,
    process::Groups,
};

use run::Command;

/// Variables that would give a client more of the host than the configured commands do.
const BLOCKED: [&str; 7] = ["LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "BASH_ENV", "KUBECONFIG", "HOME"];
const BLOCKED_PREFIXES: [&str; 2] = ["LD_", "BASH_FUNC_"];
/// What a method without a command runs.
const GREETING: &str = "echo Hello";

pub(crate) fn register(all: &mut Registry) {
    all.add_async("jumpstarter_driver_shell.driver.Shell", |build| ready(Shell::build(build)));
}

/// Runs a configured command for each call.
struct Shell {
    methods: Vec<(String, Method)>,
    /// Program and arguments that a command is given to.
    interpreter: Vec<String>,
    cwd: Option<PathBuf>,
    groups: Groups,
    log: DriverLog,
}

struct Method {
    command: String,
    timeout: Duration,
}

impl Shell {
    fn build(mut build: Build) -> Result<Built, String> {
        let mut keys = build.keys();
        let written: Map<String, Value> = keys.required("methods");
        let shell = keys.or("shell", vec!["bash".to_owned(), "-c".to_owned()]);
        let timeout = keys.or("timeout", 300);
        let cwd = keys.option("cwd");
        if shell.is_empty() {
            keys.fault("shell", "must name a program");
        }
        let mut methods = Vec::new();
        let mut descriptions = std::collections::BTreeMap::new();
        for (name, value) in written {
            match value {
                Value::String(command) => {
                    methods.push((name, Method { command, timeout: Duration::from_secs(timeout) }));
                }
                Value::Object(map) => {
                    let mut method = ConfigKeys::new(map);
                    let command = method.or("command", GREETING.to_owned());
                    let timeout = Duration::from_secs(method.or("timeout", timeout));
                    if let Some(text) = method.option("description") {
                        descriptions.insert(name.clone(), text);
                    }
                    if let Err(faults) = method.end() {
                        keys.fault("methods", &format!("method '{name}': {faults}"));
                    }
                    methods.push((name, Method { command, timeout }));
                }
                other => {
                    let got = kind(&other);
                    keys.fault("methods", &format!("method '{name}' must be a command or a mapping, got {got}"));
                }
            }
        }
        keys.end()?;
        let mut built =
            Built::new(Self { methods, interpreter: shell, cwd, groups: Groups::default(), log: build.log });
        built.methods_description = descriptions;
        Ok(built)
    }

    /// Checks everything before anything runs.
    fn command(&self, args: Vec<Value>) -> Result<Command, DriverError> {
        let invalid = DriverError::InvalidArgument;
        let mut args = Args::new("call_method", args);
        let name = args.string("method")?;
        let env = variables(args.value())?;
        let Some((_, method)) = self.methods.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = self.methods.iter().map(|(name, _)| name.as_str()).collect();
            return Err(invalid(format!("method '{name}' is not configured, only: {}", known.join(", "))));
        };
        let mut words = Vec::new();
        for (n, arg) in args.rest().enumerate() {
            match arg {
                Value::String(word) => words.push(word),
                other => {
                    let got = kind(&other);
                    return Err(invalid(format!("{name}: argument {} must be a string, got {got}", n + 1)));
                }
            }
        }
        if method.command.trim().is_empty() {
            return Err(invalid(format!("method '{name}' has an empty command in the exporter configuration")));
        }
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
            return Err(invalid(format!("the working directory {} does not exist", cwd.display())));
        }
        self.log.info(&format!("calling {name} with {} arguments and {} variables", words.len(), env.len()));
        Ok(Command {
            shell: self.interpreter.clone(),
            script: method.command.clone(),
            name,
            args: words,
            env,
            cwd: self.cwd.clone(),
            timeout: method.timeout,
        })
    }
}

/// The environment that a client asks for.
fn variables(value: Option<Value>) -> Result<HashMap<String, String>, DriverError> {
    let invalid = |text: String| Err(DriverError::InvalidArgument(text));
    let map = match value {
        None => return Ok(HashMap::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return invalid(format!("the environment must be a mapping, got {}", kind(&other))),
    };
    let mut all = HashMap::new();
    for (name, value) in map {
        if !identifier(&name) {
            return invalid(format!("'{}' is no name of an environment variable", name.escape_debug()));
        }
        if BLOCKED.contains(&name.as_str()) || BLOCKED_PREFIXES.iter().any(|start| name.starts_with(start)) {
            return invalid(format!("environment variable '{name}' is blocked for security reasons"));
        }
        let Value::String(value) = value else {
            return invalid(format!("environment variable '{name}' must be a string, got {}", kind(&value)));
        };
        if value.contains('\0') {
            return invalid(format!("environment variable '{name}' holds a NUL byte"));
        }
        all.insert(name, value);
    }
    Ok(all)
}

fn identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

impl Driver for Shell {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_shell.client.ShellClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        let answer = match method {
            "get_methods" => {
                let names: Vec<_> = self.methods.iter().map(|(name, _)| name).collect();
                Args::new(method, args).end().map(|()| json!(names))
            }
            _ => Err(DriverError::not_found(method)),
        };
        ready(answer).boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        let output = match method {
            "call_method" => self.command(args).and_then(|command| command.run(&self.groups, &self.log)),
            _ => Err(DriverError::not_found(method)),
        };
        ready(output).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async {
            self.groups.close().await;
            Ok(())
        }
        .boxed()
    }
}
