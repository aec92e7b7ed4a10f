//! `cargo-deny`: built once a version, from crates.io, and kept in the cache.

use std::{path::PathBuf, process::Command};

use anyhow::Result;
use jumpstarter_peers::{cache_root, is_complete, mark_complete};

use crate::command::{cargo, run, workspace};

/// Raising it builds it anew (about 2.5 minutes on two cores).
const VERSION: &str = "0.20.2";

fn home() -> Result<PathBuf> {
    Ok(cache_root()?.join(format!("cargo-deny-{VERSION}")))
}

/// Builds it unless it is there.
pub(crate) fn install() -> Result<()> {
    let home = home()?;
    if is_complete(&home, VERSION) {
        return Ok(());
    }
    eprintln!("xtask: building cargo-deny {VERSION}");
    run(cargo()
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--quiet", "--root"])
        .arg(&home))?;
    mark_complete(&home, VERSION)?;
    Ok(())
}

/// Licences, banned crates and sources. Advisories need a Git host, so they are not part of the tests.
pub(crate) fn check() -> Result<()> {
    install()?;
    run(Command::new(home()?.join("bin/cargo-deny")).current_dir(workspace()).args([
        "--workspace",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}
