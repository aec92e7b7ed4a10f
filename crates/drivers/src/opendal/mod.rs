//! `jumpstarter_driver_opendal.driver.Opendal`: files in a storage that the exporter reaches.
mod cleanup;
mod error;
mod files;
mod operator;
mod wire;

use std::{path::Path, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use opendal::Operator;
use serde::Deserialize;
use serde_json::{Map, json};

use crate::{Driver, DriverError, DriverLog, Registry, Value, ValueStream, args::Args, storage::Resources};

use cleanup::Created;
use error::failed;
use files::{Files, Mode};

/// Files in a storage: opened and read or written by handle, or named by path.
pub(crate) struct Opendal {
    operator: Operator,
    files: Files,
    created: Created,
    resources: Resources,
    log: DriverLog,
}

#[derive(Deserialize)]
struct Config {
    scheme: String,
    kwargs: Map<String, Value>,
    #[serde(default)]
    remove_created_on_close: bool,
}

/// Adds the class.
pub(crate) fn register(all: &mut Registry) {
    all.add("jumpstarter_driver_opendal.driver.Opendal", |build| {
        let config = build.config::<Config>(&["scheme", "kwargs", "remove_created_on_close"])?;
        let options = operator::options(config.kwargs)?;
        let root = options.get("root").cloned().unwrap_or_else(|| "/".to_owned());
        let operator = operator::build(&config.scheme, options)?;
        let created = Created::new(config.remove_created_on_close, &config.scheme, root.into());
        Ok(Arc::new(Opendal::new(operator, created, build.resources, build.log)))
    });
}

impl Opendal {
    fn new(operator: Operator, created: Created, resources: Resources, log: DriverLog) -> Self {
        let files = Files::new(operator.clone());
        Self { operator, files, created, resources, log }
    }

    /// Storage in the directory `root`, as a child of a driver that serves files. With `remove_created`, what clients
    /// make is removed when the session ends.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(crate) fn fs(
        root: &Path,
        remove_created: bool,
        resources: Resources,
        log: DriverLog,
    ) -> Result<Arc<dyn Driver>, String> {
        let options = std::iter::once(("root".to_owned(), root.display().to_string())).collect();
        let created = Created::new(remove_created, "fs", root.to_owned());
        Ok(Arc::new(Self::new(operator::build("fs", options)?, created, resources, log)))
    }

    async fn answer(&self, method: &str, args: Vec<Value>) -> Result<Value, DriverError> {
        let mut args = Args::new(method, args);
        match method {
            "open" => {
                let (path, mode) = (path_argument(&mut args, "path")?, args.string("mode")?);
                args.end()?;
                let mode: Mode = mode.parse().map_err(DriverError::InvalidArgument)?;
                let fd = self.files.open(&path, mode).await?;
                if mode == Mode::Write {
                    self.created.add(&path);
                }
                Ok(json!(fd))
            }
            "file_read" | "file_write" => {
                let fd = args.string("fd")?;
                let handle = args.value().unwrap_or_default();
                args.end()?;
                let mut resource = self.resources.open(&handle).await?;
                match method {
                    "file_read" => self.files.read(&fd, &mut resource).await?,
                    _ => self.files.write(&fd, &mut resource).await?,
                }
                resource.finish().await.map(|()| Value::Null)
            }
            "file_seek" => {
                let (fd, position) = (args.string("fd")?, args.integer("pos")?);
                let whence = args.value().map_or(0, |value| value.as_f64().map_or(-1, files::whole));
                args.end()?;
                self.files.seek(&fd, position, whence).await.map(Value::from)
            }
            "file_tell" | "file_close" | "file_closed" | "file_readable" | "file_seekable" | "file_writable" => {
                let fd = args.string("fd")?;
                args.end()?;
                match method {
                    "file_tell" => self.files.tell(&fd).await.map(Value::from),
                    "file_close" => self.files.close(&fd).await.map(|()| Value::Null),
                    "file_closed" => self.files.is_closed(&fd).await.map(Value::from),
                    // Closed or not, a file was opened for one of the two; what is readable can be sought in.
                    "file_writable" => self.files.is_writable(&fd).await.map(Value::from),
                    _ => self.files.is_writable(&fd).await.map(|writable| Value::from(!writable)),
                }
            }
            _ => self.answer_about_paths(method, args).await,
        }
    }

    async fn answer_about_paths(&self, method: &str, mut args: Args<'_>) -> Result<Value, DriverError> {
        match method {
            "stat" | "exists" | "create_dir" | "delete" | "remove_all" | "register_path" => {
                let path = path_argument(&mut args, "path")?;
                args.end()?;
                self.answer_about_path(method, &path).await
            }
            "copy" | "rename" => {
                let (source, target) = (path_argument(&mut args, "source")?, path_argument(&mut args, "target")?);
                args.end()?;
                if method == "copy" {
                    self.operator.copy(&source, &target).await.map_err(failed)?;
                } else {
                    self.operator.rename(&source, &target).await.map_err(failed)?;
                    self.created.forget(&source);
                }
                self.created.add(&target);
                Ok(Value::Null)
            }
            "hash" => {
                let path = path_argument(&mut args, "path")?;
                let algorithm = args.value().unwrap_or_else(|| json!("sha256"));
                args.end()?;
                files::hash(&self.operator, &path, algorithm.as_str().unwrap_or_default()).await.map(Value::from)
            }
            "presign_stat" | "presign_read" | "presign_write" => {
                let (path, seconds) = (path_argument(&mut args, "path")?, args.integer("expire_second")?);
                args.end()?;
                let seconds = u64::try_from(seconds).map_err(|_| {
                    DriverError::InvalidArgument(format!("{method}: expire_second must not be negative, got {seconds}"))
                })?;
                let expire = Duration::from_secs(seconds);
                let request = match method {
                    "presign_stat" => self.operator.presign_stat(&path, expire).await,
                    "presign_read" => self.operator.presign_read(&path, expire).await,
                    _ => self.operator.presign_write(&path, expire).await,
                };
                Ok(wire::presigned(&request.map_err(failed)?))
            }
            "capability" => {
                args.end()?;
                Ok(wire::capability(&self.operator))
            }
            "get_created_resources" => {
                args.end()?;
                Ok(json!(self.created.paths()))
            }
            _ => Err(DriverError::not_found(method)),
        }
    }

    async fn answer_about_path(&self, method: &str, path: &str) -> Result<Value, DriverError> {
        match method {
            "stat" => return Ok(wire::metadata(&self.operator.stat(path).await.map_err(failed)?)),
            "exists" => return self.operator.exists(path).await.map(Value::from).map_err(failed),
            "create_dir" => {
                self.operator.create_dir(path).await.map_err(failed)?;
                self.created.add(path);
            }
            "register_path" => self.created.add(path),
            "delete" => {
                self.operator.delete(path).await.map_err(failed)?;
                self.created.forget(path);
            }
            _ => {
                self.operator.delete_with(path).recursive(true).await.map_err(failed)?;
                self.created.forget(path);
            }
        }
        Ok(Value::Null)
    }
}

/// The next argument, a path that stays below the storage's root: clients have the storage, not the lab host.
fn path_argument(args: &mut Args<'_>, name: &str) -> Result<String, DriverError> {
    let path = args.string(name)?;
    if path.split('/').any(|part| part == "..") {
        return Err(DriverError::InvalidArgument(format!("{name} '{path}' leads out of the storage: leave '..' out")));
    }
    Ok(path)
}

impl Driver for Opendal {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_opendal.client.OpendalClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        self.answer(method, args).boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        async move {
            let deep = match method {
                "list" => false,
                "scan" => true,
                _ => return Err(DriverError::not_found(method)),
            };
            let mut args = Args::new(method, args);
            let path = path_argument(&mut args, "path")?;
            args.end()?;
            let entries = self.operator.lister_with(&path).recursive(deep).await.map_err(failed)?;
            let paths = entries.map_ok(|entry| Value::from(entry.path().to_owned())).map_err(failed);
            Ok(paths.boxed())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async move {
            self.files.forget_all();
            self.created.clean(&self.log).await;
            Ok(())
        }
        .boxed()
    }
}
