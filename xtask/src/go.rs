//! Builds the Kubernetes programs of the tests from their published modules.

use std::{env, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use jumpstarter_peers::{
    is_complete,
    kubernetes::{GoPrograms, HELM, SERVERS},
    mark_complete,
};

use crate::command::{run as run_command, succeeds, workspace};

/// Tells tests that there is no API server, and that this is known.
pub(crate) const WITHOUT: &str = "JUMPSTARTER_WITHOUT_KUBE";

/// Everything that is missing. Without Go nothing can be built: that is an error in CI, and said loudly elsewhere.
pub(crate) fn programs() -> Result<()> {
    for programs in [SERVERS, HELM] {
        if is_complete(&programs.path()?, &programs.recipe()) {
            continue;
        }
        if succeeds(Command::new("go").arg("version")) {
            build(&programs)?;
        } else if env::var_os("CI").is_some() {
            bail!("{} must be built and there is no Go: install Go 1.24 or newer", programs.name);
        } else {
            eprintln!("xtask: SKIPPED: {}, and every test that needs it: install Go 1.24 or newer", programs.name);
        }
    }
    Ok(())
}

/// Whether tests can have an API server.
pub(crate) fn available() -> bool {
    env::var_os("KUBEBUILDER_ASSETS").is_some() || SERVERS.find().is_ok()
}

/// Minutes of work the first time; a half-made directory has no stamp and is made again from nothing.
fn build(programs: &GoPrograms) -> Result<()> {
    let path = programs.path()?;
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    eprintln!("xtask: building {} (minutes, once)", programs.name);
    for module in programs.modules {
        // A directory as the output gives each program the name of its package; the folder's own is named after its module.
        let link = format!("-s -w {}", module.link);
        run_command(
            Command::new("go")
                .current_dir(workspace().join("test-servers").join(module.folder))
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "-mod=readonly -buildvcs=false")
                .env("GOTOOLCHAIN", "auto")
                .args(["build", "-trimpath", "-ldflags", &link, "-o"])
                .arg(path.join(""))
                .args(module.packages),
        )?;
    }
    mark_complete(&path, &programs.recipe())?;
    Ok(())
}
