//! Images on devices and media.
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use jumpstarter_client::{Flasher, StorageMux, Transfer, Transferred};
use serde_json::json;
use tokio::fs::File;

use super::{super::Use, progress::Progress};
use crate::{failure::Failure, output};

/// `targets`: the device has partitions that can be named.
pub(super) fn flasher_commands(targets: bool) -> Vec<Command> {
    let packed = || {
        Arg::new("compression")
            .long("compression")
            .value_parser(["gzip", "xz", "bz2", "zstd"])
            .ignore_case(true)
            .help("How the file on this machine is packed")
    };
    let mut flash = Command::new("flash")
        .about("Flash image to DUT from file")
        .arg(Arg::new("FILE").num_args(0..=1).help("File of this machine, or an http(s) URL for the exporter"))
        .arg(packed());
    let mut dump = Command::new("dump")
        .about("Dump image from DUT to file")
        .arg(Arg::new("FILE").required(true).value_parser(value_parser!(PathBuf)).help("File of this machine"))
        .arg(packed());
    if targets {
        let many = Arg::new("target").short('t').long("target").value_name("NAME:FILE").action(ArgAction::Append);
        flash = flash.arg(many.help("Flash FILE to the partition NAME; may be given more than once"));
        dump = dump.arg(Arg::new("target").long("target").value_name("NAME").help("Partition to dump"));
    }
    vec![flash, dump]
}

pub(super) fn mux_commands() -> Vec<Command> {
    vec![
        Command::new("host").about("Connect storage to host"),
        Command::new("dut").about("Connect storage to dut"),
        Command::new("off").about("Disconnect storage"),
        Command::new("write-local-file")
            .about("Write a file of this machine to the storage")
            .arg(Arg::new("FILE").required(true).value_parser(value_parser!(PathBuf)).help("File of this machine")),
    ]
}

pub(super) async fn run_flasher(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let flasher = Flasher::new(driver.session, driver.path);
    if name == "dump" {
        let target = matches.get_one::<String>("target").map(String::as_str);
        let path = dump_file(matches);
        return moved(None, matches, async |transfer| Ok(flasher.dump_into(&path, target, transfer).await?)).await;
    }
    let targets = matches.get_many::<String>("target").into_iter().flatten();
    let mut images = Vec::new();
    for text in targets {
        let (name, file) = text
            .split_once(':')
            .ok_or_else(|| Failure::new(format!("Invalid target spec '{text}', expected name:file")))?;
        images.push((Some(name), file.to_owned()));
    }
    if images.is_empty() {
        images.push((None, flash_file(matches)?));
    }
    for (target, image) in images {
        if is_url(&image) {
            packed_url(matches)?;
            flasher.flash_url(&image, target).await?;
            continue;
        }
        let path = Path::new(&image);
        moved(Some(path), matches, async |transfer| Ok(flasher.flash_from(path, target, transfer).await?)).await?;
    }
    Ok(())
}

/// The medium is the host's for the time of the transfer, and the device's after it, whatever happened.
pub(super) async fn run_mux_flasher(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let mux = StorageMux::new(driver.session, driver.path);
    if name == "dump" {
        let path = dump_file(matches);
        let partial = Partial::create(&path)?;
        let file = partial.open().await?;
        moved(None, matches, async |transfer| Ok(mux.dump(file, transfer).await?)).await?;
        return partial.complete();
    }
    let image = flash_file(matches)?;
    if is_url(&image) {
        packed_url(matches)?;
        mux.switch("host").await?;
        let handle = json!({ "kind": "presigned_request", "headers": {}, "url": image, "method": "GET" });
        let written = driver.call("write", &[handle]).await;
        let given = mux.switch("dut").await;
        written?;
        return Ok(given?);
    }
    let path = Path::new(&image);
    let file = opened(path).await?;
    moved(Some(path), matches, async |transfer| Ok(mux.flash(file, transfer).await?)).await
}

pub(super) async fn run_mux(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let mux = StorageMux::new(driver.session, driver.path);
    if name == "write-local-file" {
        let path = dump_file(matches);
        let file = opened(&path).await?;
        return moved(Some(&path), matches, async |transfer| Ok(mux.write(file, transfer).await?)).await;
    }
    Ok(mux.switch(name).await?)
}

async fn opened(path: &Path) -> Result<File, Failure> {
    File::open(path).await.map_err(|error| failed("open", path, &error))
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::from_error(&format!("{verb} {}", path.display()), error)
}

/// A file that gets its name when it is complete.
struct Partial<'a> {
    temporary: tempfile::NamedTempFile,
    path: &'a Path,
}

impl<'a> Partial<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As any new file: the caller's umask takes away what shall not be.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let made = tempfile::Builder::new().prefix(".jumpstarter-").permissions(permissions).tempfile_in(dir);
        Ok(Self { temporary: made.map_err(|error| failed("create", path, &error))?, path })
    }

    async fn open(&self) -> Result<File, Failure> {
        let opened = File::options().write(true).open(self.temporary.path()).await;
        opened.map_err(|error| failed("create", self.path, &error))
    }

    fn complete(self) -> Result<(), Failure> {
        let Self { temporary, path } = self;
        temporary.persist(path).map(drop).map_err(|error| failed("complete", path, &error.error))
    }
}

/// A transfer with something to look at, and the hash of what was moved at its end.
async fn moved(
    source: Option<&Path>,
    matches: &ArgMatches,
    transfer: impl AsyncFnOnce(Transfer<'_>) -> Result<Transferred, Failure>,
) -> Result<(), Failure> {
    let mut progress = source.map_or_else(|| Progress::new(None), Progress::of_file);
    let encoding = matches.try_get_one::<String>("compression").ok().flatten().map(|name| name.to_lowercase());
    let mut tell = |bytes| progress.tell(bytes);
    let wanted = Transfer { encoding: encoding.as_deref(), digest: true, progress: Some(&mut tell) };
    let done = transfer(wanted).await?;
    progress.finish(done.bytes);
    if let Some(sha256) = done.sha256 {
        output::complain(&format!("{} bytes, sha256 {sha256}", done.bytes));
    }
    Ok(())
}

fn flash_file(matches: &ArgMatches) -> Result<String, Failure> {
    let file = matches.get_one::<String>("FILE").cloned();
    file.ok_or_else(|| Failure::Usage("FILE argument is required unless --target/-t is used".to_owned()))
}

fn dump_file(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("FILE").cloned().unwrap_or_default()
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// What the exporter fetches by itself cannot be said to be packed: it looks by itself.
fn packed_url(matches: &ArgMatches) -> Result<(), Failure> {
    if matches.get_one::<String>("compression").is_some() {
        return Err(Failure::Usage("--compression is for files of this machine, not for URLs".to_owned()));
    }
    Ok(())
}
