//! Programs that the driver starts, and the Debian packages that bring them.
use std::{
    env, io,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use rustix::fs::{Access, access};
use tokio::{process::Command, time::timeout};

use crate::DriverError;

/// The program `name` on `PATH`.
///
/// # Errors
/// A text that names the package which has it.
pub(super) fn find(name: &str, package: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&path).map(|dir| dir.join(name));
    let found = found.find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
    found.ok_or_else(|| format!("{name} is not on the exporter's PATH: install it (`apt install {package}`)"))
}

/// The Debian package with the emulator of `arch`.
pub(super) fn package_of(arch: &str) -> &'static str {
    match arch {
        "x86_64" | "i386" => "qemu-system-x86",
        "aarch64" | "arm" => "qemu-system-arm",
        "ppc" | "ppc64" => "qemu-system-ppc",
        "mips" | "mipsel" | "mips64" | "mips64el" => "qemu-system-mips",
        "sparc" | "sparc64" => "qemu-system-sparc",
        _ => "qemu-system-misc",
    }
}

/// Runs `program` to its end and returns what it said.
///
/// # Errors
/// When it cannot be started, or runs longer than `limit`; it is killed then.
pub(super) async fn output(program: &str, args: &[&str], limit: Duration) -> Result<Output, DriverError> {
    let path = find(program, "qemu-utils").map_err(DriverError::Other)?;
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(limit, command.output()).await {
        Ok(done) => done.map_err(|source| failed(program, source)),
        Err(_) => Err(DriverError::Timeout(format!("{program} has not ended within {} s", limit.as_secs()))),
    }
}

pub(super) fn failed(program: &str, source: io::Error) -> DriverError {
    DriverError::Io { message: format!("start {program}: {source}"), source }
}
