//! An exporter: the released Python one or ours.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jumpstarter_config::{Env, ExporterConfig};

use crate::{Process, Sandbox, jmp::Release};

/// The drivers that most tests use: power that only logs, and a socket that sends back what it gets.
pub const MOCK: &str = "
power: { type: jumpstarter_driver_power.driver.MockPower }
echo: { type: jumpstarter_driver_network.driver.EchoNetwork }
";

/// What an exporter shall be.
#[derive(Debug, Clone)]
pub struct ExporterSetup {
    /// Name of the object.
    pub name: String,
    /// Labels of the object.
    pub labels: Vec<(String, String)>,
    /// The drivers, in YAML: what stands under `export:`.
    pub drivers: String,
    /// The hooks, in YAML: what stands under `hooks:`.
    pub hooks: String,
    /// Which programs serve it.
    pub release: Release,
    /// Whether it is started again whenever it ends, as its operator's service manager would.
    pub supervised: bool,
    /// Variables of its environment beyond the sandbox's.
    pub env: Vec<(String, String)>,
}

impl ExporterSetup {
    /// The newest Python exporter with mock drivers, no hooks, and its own name as the label `name`.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: vec![("name".to_owned(), name.to_owned())],
            drivers: MOCK.to_owned(),
            hooks: String::new(),
            release: Release::newest(),
            supervised: false,
            env: Vec::new(),
        }
    }

    /// With one more label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With these drivers instead.
    pub fn drivers(self, drivers: &str) -> Self {
        Self { drivers: drivers.to_owned(), ..self }
    }

    /// With these hooks.
    pub fn hooks(self, hooks: &str) -> Self {
        Self { hooks: hooks.to_owned(), ..self }
    }

    /// Served by these programs.
    pub fn release(self, release: Release) -> Self {
        Self { release, ..self }
    }

    /// Started again whenever it ends: the oldest release ends after each lease.
    pub fn supervised(self) -> Self {
        Self { supervised: true, ..self }
    }

    /// With one more variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts drivers and hooks into a configuration that an operator's tool has written.
    #[track_caller]
    pub(crate) fn complete(&self, path: &Path, namespace: &str) {
        let env = Env::empty();
        let mut config = ExporterConfig::from_file(path, &env).expect("read the exporter's configuration");
        let indented = |text: &str| text.replace('\n', "\n  ");
        let wanted = format!(
            "metadata: {{ namespace: {namespace}, name: {} }}\nexport:\n  {}\nhooks:\n  {}\n",
            self.name,
            indented(&self.drivers),
            indented(if self.hooks.is_empty() { "{}" } else { &self.hooks }),
        );
        let wanted = ExporterConfig::from_yaml(&wanted, &env).expect("parse the test's drivers and hooks");
        config.export = wanted.export;
        config.hooks = wanted.hooks;
        config.save(path).expect("write the exporter's configuration");
    }
}

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    sandbox: Arc<Sandbox>,
    setup: ExporterSetup,
    config: PathBuf,
    process: Option<Process>,
}

impl Exporter {
    /// Starts an exporter whose configuration is complete.
    #[track_caller]
    pub fn start(sandbox: &Arc<Sandbox>, setup: ExporterSetup, config: PathBuf) -> Self {
        let mut exporter = Self { sandbox: Arc::clone(sandbox), setup, config, process: None };
        exporter.up();
        exporter
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// The running process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the exporter was stopped by the test")
    }

    /// Starts it again.
    #[track_caller]
    pub fn up(&mut self) {
        assert!(self.process.is_none(), "the exporter is running");
        let script = if self.setup.supervised { r#"while :; do "$@"; done"# } else { r#"exec "$@""# };
        let mut command = self.setup.release.shell(&self.sandbox, self.name());
        command.args(["-c", script, "sh", "jmp", "run", "--exporter-config"]);
        // Python keeps back what it logs into a file, unless told otherwise.
        command.arg(&self.config).env("PYTHONUNBUFFERED", "1");
        command.envs(self.setup.env.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(&self.sandbox, self.name(), command));
    }

    /// Ends it, and all that it started, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill_tree();
        }
    }
}
