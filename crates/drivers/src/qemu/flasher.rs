//! The machine's disks and firmware.
use std::{fs, path::Path, sync::Arc};

use futures::{FutureExt as _, TryStreamExt as _, future::BoxFuture};
use tempfile::NamedTempFile;

use crate::{Driver, DriverError, Value, ValueStream, args::Args, process::Groups};

use super::{
    machine::{Machine, Partition},
    oci,
};

/// Writes images for the machine's next start, and reads them back.
pub(super) struct QemuFlasher {
    machine: Arc<Machine>,
    /// Tools that fetch container images.
    groups: Groups,
}

impl QemuFlasher {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        Self { machine, groups: Groups::default() }
    }

    /// Replaces what `partition` holds; a failure leaves what was there. A machine that runs keeps what it started
    /// with.
    async fn flash(&self, source: &Value, partition: Partition) -> Result<(), DriverError> {
        let mut source = self.machine.resources.open(source).await?.unpacked().await?;
        let partial = self.partial()?;
        source.copy_to_file(partial.path()).await?;
        keep(partial, &self.machine.path(partition.as_str()))?;
        source.finish().await
    }

    async fn dump(&self, target: &Value, partition: Partition) -> Result<(), DriverError> {
        let name = partition.as_str();
        let path = match self.machine.content(partition)? {
            Some(content) => content.into_path(),
            None => {
                let message = format!("partition '{name}' holds nothing: flash it first");
                return Err(DriverError::InvalidArgument(message));
            }
        };
        let mut target = self.machine.resources.open(target).await?;
        target.copy_from_file(&path).await?;
        target.finish().await
    }

    async fn flash_oci(&self, url: &str, args: OciArgs) -> Result<ValueStream, DriverError> {
        let credentials = oci::credentials(args.username, args.password)?;
        let tool = oci::tool(&self.machine).await?;
        let target = self.machine.path(args.partition.as_str());
        let timeout = self.machine.settings.fls.timeout;
        let log = &self.machine.log;
        oci::fetch(&tool, url, credentials, self.partial()?, target, timeout, &self.groups, log)
    }

    fn partial(&self) -> Result<NamedTempFile, DriverError> {
        let made = tempfile::Builder::new().prefix("partial-").tempfile_in(self.machine.dir());
        made.map_err(|source| DriverError::Io { message: format!("make an image: {source}"), source })
    }
}

/// Arguments that follow the URL.
struct OciArgs {
    partition: Partition,
    username: Option<String>,
    password: Option<String>,
}

/// Gives a complete image its name.
pub(super) fn keep(partial: NamedTempFile, path: &Path) -> Result<(), DriverError> {
    let kept = partial.persist(path).map(drop);
    kept.map_err(|err| DriverError::Io { message: format!("keep the image: {}", err.error), source: err.error })
}

fn partition(args: &mut Args<'_>) -> Result<Partition, DriverError> {
    match text(args, "partition")? {
        None => Ok(Partition::Root),
        Some(name) => Partition::parse(&name).map_err(DriverError::InvalidArgument),
    }
}

fn text(args: &mut Args<'_>, name: &str) -> Result<Option<String>, DriverError> {
    match args.value() {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let got = crate::args::kind(&other);
            Err(DriverError::InvalidArgument(format!("the {name} must be a string, got {got}")))
        }
    }
}

impl Driver for QemuFlasher {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_qemu.client.QemuFlasherClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let mut args = Args::new(method, args);
            if !matches!(method, "flash" | "dump") {
                return Err(DriverError::not_found(method));
            }
            let file = args.value().unwrap_or_default();
            let partition = partition(&mut args)?;
            args.end()?;
            match file.as_str() {
                Some(url) if method == "flash" && url.starts_with(oci::SCHEME) => {
                    let args = OciArgs { partition, username: None, password: None };
                    self.flash_oci(url, args).await?.try_for_each(|_| std::future::ready(Ok(()))).await?;
                }
                _ if method == "flash" => self.flash(&file, partition).await?,
                _ => self.dump(&file, partition).await?,
            }
            Ok(Value::Null)
        }
        .boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        async move {
            if method != "flash_oci" {
                return Err(DriverError::not_found(method));
            }
            let mut args = Args::new(method, args);
            let url = args.string("oci_url")?;
            let rest = OciArgs {
                partition: partition(&mut args)?,
                username: text(&mut args, "user name")?,
                password: text(&mut args, "password")?,
            };
            args.end()?;
            self.flash_oci(&url, rest).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async {
            self.groups.close().await;
            // Images that were never completed; the machine removes the rest.
            for entry in fs::read_dir(self.machine.dir()).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("partial-") {
                    let _ = fs::remove_file(entry.path());
                }
            }
            Ok(())
        }
        .boxed()
    }
}
