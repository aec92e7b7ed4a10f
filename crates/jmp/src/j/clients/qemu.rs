//! Virtual machines: their sizes, and disk images from container registries.
use std::{io::Write as _, process::ExitCode};

use clap::{Arg, ArgMatches, Command};
use futures::StreamExt as _;
use jumpstarter_client::Value;
use serde_json::json;

use super::{Use, storage};
use crate::{failure::Failure, output};

/// What images in registries are called by.
const OCI: &str = "oci://";

/// Beside those of the machine's parts.
pub(super) fn commands() -> Vec<Command> {
    let size = || Arg::new("SIZE").required(true).help("Such as 20G, 512M or 2T");
    vec![
        Command::new("resize")
            .about("Resize QEMU resources")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
            .subcommand(Command::new("disk").about("Resize the root disk; run it before power on").arg(size()))
            .subcommand(Command::new("memory").about("Set the memory size of the next start").arg(size())),
    ]
}

pub(super) async fn run(driver: Use<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    let Some((what, matches)) = matches.subcommand() else { return Err(Failure::new("no command was given")) };
    let size = matches.get_one::<String>("SIZE").map(String::as_str).unwrap_or_default();
    let (method, text) = match what {
        "disk" => ("set_disk_size", "Disk will be resized to"),
        _ => ("set_memory_size", "Memory will be set to"),
    };
    driver.call(method, &[json!(size)]).await?;
    output::say(&format!("{text} {size} on next power on"));
    Ok(())
}

/// A flasher that also takes images from registries, which the exporter fetches by itself.
pub(super) async fn run_flasher(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let file = matches.try_get_one::<String>("FILE").ok().flatten();
    match file {
        Some(url) if name == "flash" && url.starts_with(OCI) && !matches.contains_id("target") => {
            flash_oci(driver, url).await
        }
        _ => storage::Kind::Flasher.run(driver, name, matches).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn flash_oci(driver: Use<'_>, url: &str) -> Result<ExitCode, Failure> {
    let mut told = driver.session.stream_call(driver.path, "flash_oci", &[json!(url), Value::Null]).await?;
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
    }
    Ok(ExitCode::SUCCESS)
}
