//! Files in directories of the exporter's storage.
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use futures::StreamExt as _;
use jumpstarter_client::{Storage, Transfer, Value};
use serde_json::Map;

use super::{super::Use, progress::Progress};
use crate::{failure::Failure, output};

pub(super) fn commands() -> Vec<Command> {
    let remote = |name: &'static str, help: &'static str| Arg::new(name).required(true).help(help);
    let local = |name: &'static str, help: &'static str| {
        Arg::new(name).required(true).value_parser(value_parser!(PathBuf)).help(help)
    };
    let path = || remote("PATH", "Path in the storage");
    let one = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(path());
    let two = |name: &'static str, about: &'static str| {
        let source = remote("SOURCE", "Path in the storage");
        Command::new(name).about(about).arg(source).arg(remote("TARGET", "New path in the storage"))
    };
    let presign = |name: &'static str, about: &'static str| {
        let seconds = Arg::new("expire-second").long("expire-second").value_name("SECONDS").required(true);
        one(name, about).arg(seconds.value_parser(value_parser!(u32)).help("How long the request may be made"))
    };
    let algorithm = Arg::new("algo").long("algo").value_parser(["md5", "sha256"]).default_value("sha256");
    vec![
        one("write-bytes", "Write a file from stdin"),
        one("read-bytes", "Print a file"),
        Command::new("write-from-path")
            .about("Write a file from a file of this machine, and compare the hash")
            .arg(remote("DST", "Path in the storage"))
            .arg(local("SRC", "File of this machine")),
        Command::new("read-into-path")
            .about("Read a file into a file of this machine, and compare the hash")
            .arg(remote("SRC", "Path in the storage"))
            .arg(local("DST", "File of this machine")),
        one("stat", "Show what is known of a file"),
        one("hash", "Print the hash of a file").arg(algorithm.help("Which hash")),
        two("copy", "Copy a file"),
        two("rename", "Rename a file"),
        one("remove-all", "Remove a directory and everything in it"),
        one("create-dir", "Make a directory; its path ends in /"),
        one("delete", "Remove a file"),
        one("exists", "Exit code 0 when the path exists, else 1"),
        one("list", "List a directory"),
        one("scan", "List a directory and those below it"),
        presign("presign-stat", "A request that shows what is known of a file"),
        presign("presign-read", "A request that reads a file"),
        presign("presign-write", "A request that writes a file"),
        Command::new("capability").about("Show what the storage can do"),
    ]
}

pub(super) async fn run(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let storage = Storage::new(driver.session, driver.path);
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let file = |name: &str| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    match name {
        "write-bytes" => drop(storage.write(text("PATH"), tokio::io::stdin(), hashed()).await?),
        "read-bytes" => drop(storage.read(text("PATH"), tokio::io::stdout(), hashed()).await?),
        "write-from-path" => {
            let source = file("SRC");
            let mut progress = Progress::of_file(&source);
            let transfer = Transfer { progress: Some(&mut |bytes| progress.tell(bytes)), ..hashed() };
            let done = storage.write_from(text("DST"), &source, transfer).await?;
            progress.finish(done.bytes);
        }
        "read-into-path" => {
            let mut progress = Progress::new(None);
            let transfer = Transfer { progress: Some(&mut |bytes| progress.tell(bytes)), ..hashed() };
            let done = storage.read_into(text("SRC"), &file("DST"), transfer).await?;
            progress.finish(done.bytes);
        }
        "stat" => output::say(&pretty(&stat(storage.stat(text("PATH")).await?))),
        "hash" => output::say(&storage.hash(text("PATH"), text("algo")).await?),
        "copy" => storage.copy(text("SOURCE"), text("TARGET")).await?,
        "rename" => storage.rename(text("SOURCE"), text("TARGET")).await?,
        "remove-all" => storage.remove_all(text("PATH")).await?,
        "create-dir" => storage.create_dir(text("PATH")).await?,
        "delete" => storage.delete(text("PATH")).await?,
        "exists" => {
            let path = text("PATH");
            if !storage.exists(path).await? {
                return Err(Failure::new(format!("path {path} does not exist")));
            }
        }
        "list" | "scan" => {
            let mut paths = storage.list(text("PATH"), name == "scan").await?;
            while let Some(path) = paths.next().await {
                output::say(&path?);
            }
        }
        "capability" => output::say(&pretty(&storage.capability().await?)),
        _ => {
            let operation = name.trim_start_matches("presign-");
            let seconds = matches.get_one::<u32>("expire-second").copied().unwrap_or_default();
            output::say(&pretty(&storage.presign(operation, text("PATH"), seconds).await?));
        }
    }
    Ok(())
}

/// A transfer whose hash is compared at the end.
fn hashed<'a>() -> Transfer<'a> {
    Transfer { digest: true, ..Transfer::default() }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// `entry_is_file` is shown as `is_file`.
fn stat(mut told: Value) -> Value {
    if let Some(Value::Object(mode)) = told.get_mut("mode") {
        let short = |(key, value): (String, Value)| (key.trim_start_matches("entry_").to_owned(), value);
        *mode = std::mem::take(mode).into_iter().map(short).collect::<Map<_, _>>();
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn modes_are_shown_short() {
        let told = json!({ "mode": { "entry_is_file": true, "entry_is_dir": false }, "etag": null });
        assert_eq!(stat(told), json!({ "mode": { "is_file": true, "is_dir": false }, "etag": null }));
        assert_eq!(stat(json!({ "mode": 3 })), json!({ "mode": 3 }));
    }
}
