//! Programs of the system that tests start.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::command::{run, succeeds};

/// A program and the Debian package that brings it. Some of the packages start a service where an init runs; no test
/// uses that one.
const PROGRAMS: [(&str, &str); 10] = [
    ("curl", "curl"),
    ("dbus-daemon", "dbus-daemon"),
    ("mcopy", "mtools"),
    ("mkfs.fat", "dosfstools"),
    ("mosquitto", "mosquitto"),
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("syslinux", "syslinux"),
];

/// Everything of the list that is missing.
pub(crate) fn programs() -> Result<()> {
    let missing = || PROGRAMS.iter().filter(|(program, _)| !is_there(program));
    let packages: Vec<_> = missing().map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    apt(&packages)?;
    let missing: Vec<_> = missing().map(|(program, package)| format!("{program} (Debian package {package})")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("tests start programs that are not here: install {}", missing.join(", "))
}

/// Installs `packages` where the system has Debian's tools; elsewhere it does nothing.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    if !succeeds(Command::new("apt-get").arg("--version")) {
        return Ok(());
    }
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages))
}

/// Programs of administrators are not on everybody's `PATH`.
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.any(|dir| Path::is_file(&dir.join(program)))
}
