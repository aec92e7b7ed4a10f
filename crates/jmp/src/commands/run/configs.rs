//! Which exporters are meant.
use std::path::{Path, PathBuf};

use jumpstarter_config::{ConfigHome, Env, ExporterConfig};

use super::Run;
use crate::{failure::Failure, values::insecure_tls};

/// Reads all configurations that the options name, in their order. One that cannot be used fails all.
pub(super) fn load(run: &Run, env: &Env) -> Result<Vec<ExporterConfig>, Failure> {
    let unreadable = |error| Failure::from_error("Failed to load config", &error);
    let mut configs = Vec::new();
    if !run.exporter.is_empty() {
        let home = ConfigHome::resolve(env).map_err(unreadable)?;
        for alias in &run.exporter {
            configs.push(home.load_exporter(alias, env).map_err(unreadable)?);
        }
    }
    for path in &run.exporter_config {
        for path in files(path)? {
            configs.push(ExporterConfig::from_file(&path, env).map_err(unreadable)?);
        }
    }
    for config in &mut configs {
        config.exit_on_lease_end |= run.exit_on_lease_end;
        config.tls.insecure |= insecure_tls(env);
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
    }
    twice(&configs)?;
    Ok(configs)
}

/// The file itself, or the configurations in a directory, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    };
    let shown = path.display();
    let found = list().map_err(|error| Failure::from_error(&format!("read directory {shown}"), &error))?;
    if found.is_empty() {
        return Err(Failure::new(format!("directory {shown} holds no exporter config (*.yaml)")));
    }
    Ok(found)
}

/// Two processes or tasks with one identity would take each other's leases.
fn twice(configs: &[ExporterConfig]) -> Result<(), Failure> {
    let origin = |config: &ExporterConfig| {
        config.path.as_ref().map_or_else(|| config.alias.clone(), |path| path.display().to_string())
    };
    for (n, config) in configs.iter().enumerate() {
        let same = |other: &&ExporterConfig| other.metadata == config.metadata && other.endpoint == config.endpoint;
        if let Some(first) = configs[..n].iter().find(same) {
            let name = &config.metadata.name;
            let (first, second) = (origin(first), origin(config));
            return Err(Failure::new(format!("exporter '{name}' is configured twice: in {first} and in {second}")));
        }
    }
    Ok(())
}
