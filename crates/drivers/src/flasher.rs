//! Flashers and storage multiplexers without a device: `MockFlasher`, `MockStorageMux` and `MockStorageMuxFlasher` of
//! `jumpstarter_driver_opendal.driver`.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Map;
use tempfile::TempDir;

use crate::{Driver, DriverError, Registry, Value, args::Args, storage::Resources};

/// Image that is meant when none is named.
const DEFAULT: &str = "default";

/// Adds the classes.
pub(crate) fn register(all: &mut Registry) {
    let classes =
        [("MockFlasher", Kind::Flasher), ("MockStorageMux", Kind::Mux), ("MockStorageMuxFlasher", Kind::MuxFlasher)];
    for (class, kind) in classes {
        all.add(format!("jumpstarter_driver_opendal.driver.{class}"), move |build| {
            build.config::<Map<String, Value>>(&[])?;
            let dir = tempfile::Builder::new().prefix("jumpstarter-images-").tempdir();
            let dir = dir.map_err(|err| format!("make a directory for images: {err}"))?;
            Ok(Arc::new(Mock { kind, dir, resources: build.resources }))
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flasher,
    Mux,
    MuxFlasher,
}

/// Keeps images in files that are gone with the session.
struct Mock {
    kind: Kind,
    dir: TempDir,
    resources: Resources,
}

impl Mock {
    fn image(&self, partition: Option<&str>) -> Result<PathBuf, DriverError> {
        let name = partition.unwrap_or(DEFAULT);
        let plain = Path::new(name).file_name().is_some_and(|file| file == name);
        if !plain || name.starts_with('.') {
            let message = format!("partition '{name}' is not a plain name: no slashes, and no dot in front");
            return Err(DriverError::InvalidArgument(message));
        }
        Ok(self.dir.path().join(name))
    }

    /// Replaces an image; a failure leaves the one before.
    async fn store(&self, handle: &Value, partition: Option<&str>) -> Result<Value, DriverError> {
        let image = self.image(partition)?;
        let mut source = self.resources.open(handle).await?;
        let partial = tempfile::NamedTempFile::new_in(self.dir.path()).map_err(|err| disk("make an image", err))?;
        source.copy_to_file(partial.path()).await?;
        partial.persist(&image).map_err(|err| disk("keep the image", err.error))?;
        source.finish().await.map(|()| Value::Null)
    }

    async fn load(&self, handle: &Value, partition: Option<&str>) -> Result<Value, DriverError> {
        let image = self.image(partition)?;
        // A multiplexer has a medium from the start, an empty one.
        let blank = self.kind != Kind::Flasher;
        if !image.exists() && !blank {
            let name = partition.unwrap_or(DEFAULT);
            return Err(DriverError::Other(format!("partition '{name}' was never flashed in this session")));
        }
        let mut target = self.resources.open(handle).await?;
        if image.exists() {
            target.copy_from_file(&image).await?;
        }
        target.finish().await.map(|()| Value::Null)
    }
}

impl Driver for Mock {
    fn client(&self) -> &str {
        match self.kind {
            Kind::Flasher => "jumpstarter_driver_opendal.client.FlasherClient",
            Kind::Mux => "jumpstarter_driver_opendal.client.StorageMuxClient",
            Kind::MuxFlasher => "jumpstarter_driver_opendal.client.StorageMuxFlasherClient",
        }
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let mut args = Args::new(method, args);
            let flasher = self.kind == Kind::Flasher;
            match method {
                "flash" | "dump" if flasher => {
                    let handle = args.value().unwrap_or_default();
                    let partition = match args.value() {
                        None => None,
                        Some(Value::String(name)) => Some(name),
                        Some(_) => {
                            let message = format!("{method}: the partition must be a string");
                            return Err(DriverError::InvalidArgument(message));
                        }
                    };
                    args.end()?;
                    match method {
                        "flash" => self.store(&handle, partition.as_deref()).await,
                        _ => self.load(&handle, partition.as_deref()).await,
                    }
                }
                "write" | "read" if !flasher => {
                    let handle = args.value().unwrap_or_default();
                    args.end()?;
                    match method {
                        "write" => self.store(&handle, None).await,
                        _ => self.load(&handle, None).await,
                    }
                }
                "host" | "dut" | "off" if !flasher => args.end().map(|()| Value::Null),
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }
}

fn disk(action: &str, source: std::io::Error) -> DriverError {
    DriverError::Io { message: format!("{action}: {source}"), source }
}
