//! The parts of a small virtual machine, taken out of Debian's packages; nothing of them is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use jumpstarter_peers::{GUEST_MODULES, GUEST_PACKAGES, GUEST_RECIPE, Guest, is_complete, mark_complete};

use crate::command::{run, succeeds};

/// Fills the cache entry.
pub(crate) fn parts() -> Result<()> {
    let place = Guest::place()?;
    if is_complete(&place, GUEST_RECIPE) {
        return Ok(());
    }
    if !succeeds(Command::new("apt-get").arg("--version")) {
        let packages = GUEST_PACKAGES.join(" and ");
        bail!("the test machine is made of Debian's {packages}, which need `apt-get` to be fetched");
    }
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("empty {}", place.display()))?;
    }
    let unpacked = place.join("unpacked");
    fs::create_dir_all(&unpacked).with_context(|| format!("create {}", unpacked.display()))?;
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    let [kernel, busybox] = GUEST_PACKAGES;
    for package in [latest(kernel)?.as_str(), busybox] {
        run(Command::new("apt-get").args(["download", "--quiet", package]).current_dir(&place))?;
    }
    for package in files(&place, "deb")? {
        run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&unpacked))?;
        fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
    }
    let take = |from: &Path, to: PathBuf| {
        fs::copy(from, &to).map(drop).with_context(|| format!("copy {} to {}", from.display(), to.display()))
    };
    let guest = |name: &str| place.join(name);
    take(&only(&unpacked.join("boot"), "vmlinuz-")?, guest("vmlinuz"))?;
    // Since usr-merge it is in either place.
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path)).into_iter().find(|p| p.exists());
    take(&busybox.context("the package has no busybox")?, guest("busybox"))?;
    for module in GUEST_MODULES {
        let file = format!("{module}.ko");
        let found = find(&unpacked, &file)?.with_context(|| format!("the kernel has no module {module}"))?;
        take(&found, guest(&file))?;
    }
    fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))?;
    Ok(mark_complete(&place, GUEST_RECIPE)?)
}

/// The package that `package` stands for.
fn latest(package: &str) -> Result<String> {
    let told = Command::new("apt-cache").args(["depends", package]).output().context("start apt-cache")?;
    let text = String::from_utf8_lossy(&told.stdout);
    let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.find(|name| name.starts_with("linux-image-"));
    found.map(str::to_owned).with_context(|| format!("no package is called {package}"))
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn only(dir: &Path, start: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start) {
            return Ok(entry.path());
        }
    }
    bail!("{} has no {start}*", dir.display())
}

/// The file `name` anywhere below `dir`.
fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), name)? {
                return Ok(Some(found));
            }
        } else if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
