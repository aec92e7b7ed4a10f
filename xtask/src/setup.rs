//! Installs what tests need beside Rust: programs of the system, and into a cache outside the repository the Python
//! peers, the parts of a virtual machine, Kubernetes' programs and `cargo-deny`.

mod guest;
mod packages;

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use jumpstarter_peers::{NEWEST, OLDEST, Release, cache_root, is_complete, mark_complete};

use crate::{
    command::{run as run_command, succeeds},
    deny, go,
};

/// Everything that is missing. Repeated runs find it done.
pub(crate) fn run() -> Result<()> {
    let root = cache_root()?;
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    // Two runs at once would build the same entry twice, in the same place.
    let lock = File::create(root.join(".lock")).context("create the lock of the cache")?;
    lock.lock().context("wait for another `cargo xtask setup`")?;
    python()?;
    packages::programs()?;
    guest::parts()?;
    for release in [NEWEST, OLDEST] {
        peers(&release)?;
    }
    go::programs()?;
    deny::install()
}

/// Python 3.11 or newer that can make virtual environments. Debian keeps that part in a package of its own.
fn python() -> Result<()> {
    let works = || {
        succeeds(
            Command::new("python3").args(["-c", "import sys, venv, ensurepip; assert sys.version_info >= (3, 11)"]),
        )
    };
    if works() {
        return Ok(());
    }
    packages::apt(&["python3", "python3-venv"])?;
    if works() {
        return Ok(());
    }
    bail!("the real peers need Python 3.11 or newer with the `venv` module: install `python3` and `python3-venv`")
}

/// One release in its virtual environment. A half-made one has no stamp and is made again from nothing.
fn peers(release: &Release) -> Result<()> {
    let path = release.path()?;
    if is_complete(&path, release.requirements) {
        return Ok(());
    }
    eprintln!("xtask: installing the Python peers {}", release.version);
    run_command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&path))?;
    let list = path.join("requirements.txt");
    fs::write(&list, release.requirements).with_context(|| format!("write {}", list.display()))?;
    install(&path, &list)?;
    mark_complete(&path, release.requirements)?;
    Ok(())
}

/// The list names every package, so `pip` need not resolve anything; imports compile what is used.
fn install(venv: &Path, list: &Path) -> Result<()> {
    run_command(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--no-deps", "--only-binary", ":all:", "--requirement"])
            .arg(list),
    )
}
