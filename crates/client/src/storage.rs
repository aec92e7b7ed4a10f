//! Clients of the storage drivers: opendal storage, flashers and storage multiplexers.
use std::{
    io,
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream::BoxStream};
use serde_json::json;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncWrite, BufWriter},
};

use crate::{ClientError, Session, Transfer, Transferred, Value};

/// Gathers small frames before they are written to a file.
const WRITE_BUFFER: usize = 1024 * 1024;

/// An `OpendalClient`: files in a storage of the exporter.
#[derive(Clone, Copy)]
pub struct Storage<'a> {
    session: &'a Session,
    driver: &'a str,
}

impl<'a> Storage<'a> {
    /// The storage at the dotted path `driver`.
    #[must_use]
    pub fn new(session: &'a Session, driver: &'a str) -> Self {
        Self { session, driver }
    }

    async fn call(&self, method: &str, args: &[Value]) -> Result<Value, ClientError> {
        self.session.call(self.driver, method, args).await
    }

    /// Writes `path` with what `source` gives, and checks that all of it is there: its size, and its SHA-256 when
    /// `transfer.digest` is set.
    ///
    /// # Errors
    /// When anything fails, or the storage has other bytes than were sent.
    pub async fn write<R>(&self, path: &str, source: R, transfer: Transfer<'_>) -> Result<Transferred, ClientError>
    where
        R: AsyncRead + Send + Unpin,
    {
        let packed = transfer.encoding.is_some();
        let fd = self.call("open", &[json!(path), json!("wb")]).await?;
        let file = fd.clone();
        let sent =
            self.session.send_file(self.driver, "file_write", |handle| vec![file, handle], source, transfer).await;
        let closed = self.call("file_close", &[fd]).await;
        let sent = sent?;
        closed?;
        // Unpacked, the file has another size and hash.
        if !packed {
            self.check_size(path, sent.bytes).await?;
            self.check_digest(path, &sent).await?;
        }
        Ok(sent)
    }

    /// Reads `path` into `target`; with `transfer.digest` its SHA-256 is compared with what the storage has.
    ///
    /// # Errors
    /// When anything fails, or other bytes arrived than the storage has.
    pub async fn read<W>(&self, path: &str, target: W, transfer: Transfer<'_>) -> Result<Transferred, ClientError>
    where
        W: AsyncWrite + Send + Unpin,
    {
        let packed = transfer.encoding.is_some();
        let fd = self.call("open", &[json!(path), json!("rb")]).await?;
        let file = fd.clone();
        let got =
            self.session.receive_file(self.driver, "file_read", |handle| vec![file, handle], target, transfer).await;
        let closed = self.call("file_close", &[fd]).await;
        let got = got?;
        closed?;
        if !packed {
            self.check_size(path, got.bytes).await?;
            self.check_digest(path, &got).await?;
        }
        Ok(got)
    }

    /// As [`Storage::write`], from a file of this machine.
    ///
    /// # Errors
    /// As [`Storage::write`].
    pub async fn write_from(
        &self,
        path: &str,
        from: &Path,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError> {
        self.write(path, open_file(from).await?, transfer).await
    }

    /// As [`Storage::read`], into a file of this machine, which appears when it is complete.
    ///
    /// # Errors
    /// As [`Storage::read`].
    pub async fn read_into(&self, path: &str, into: &Path, transfer: Transfer<'_>) -> Result<Transferred, ClientError> {
        let (partial, file) = Partial::create(into)?;
        let got = self.read(path, file, transfer).await?;
        partial.complete()?;
        Ok(got)
    }

    async fn check_size(&self, path: &str, expected: u64) -> Result<(), ClientError> {
        let found = self.stat(path).await?.get("content_length").and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "numbers on the wire are doubles")]
        let same = found == Some(expected as f64);
        if same {
            return Ok(());
        }
        let found = found.map_or_else(|| "an unknown number of".to_owned(), |found| found.to_string());
        Err(ClientError::Incomplete(format!("'{path}' has {found} bytes, {expected} were transferred")))
    }

    async fn check_digest(&self, path: &str, transferred: &Transferred) -> Result<(), ClientError> {
        let Some(sha256) = transferred.sha256 else { return Ok(()) };
        let (expected, found) = (sha256.to_string(), self.hash(path, "sha256").await?);
        if expected == found {
            return Ok(());
        }
        Err(ClientError::Mismatch { path: path.to_owned(), expected, found })
    }

    /// Size, type and times of `path`, as the exporter tells them.
    pub async fn stat(&self, path: &str) -> Result<Value, ClientError> {
        self.call("stat", &[json!(path)]).await
    }

    /// `md5` or `sha256` of `path`, in hexadecimal digits.
    pub async fn hash(&self, path: &str, algorithm: &str) -> Result<String, ClientError> {
        let value = self.call("hash", &[json!(path), json!(algorithm)]).await?;
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| ClientError::Protocol("the exporter", "a hash that is no text".to_owned()))
    }

    /// Whether `path` exists.
    pub async fn exists(&self, path: &str) -> Result<bool, ClientError> {
        Ok(self.call("exists", &[json!(path)]).await? == Value::Bool(true))
    }

    /// Copies a file within the storage.
    pub async fn copy(&self, source: &str, target: &str) -> Result<(), ClientError> {
        self.call("copy", &[json!(source), json!(target)]).await.map(drop)
    }

    /// Renames a file within the storage.
    pub async fn rename(&self, source: &str, target: &str) -> Result<(), ClientError> {
        self.call("rename", &[json!(source), json!(target)]).await.map(drop)
    }

    /// Removes everything below `path`.
    pub async fn remove_all(&self, path: &str) -> Result<(), ClientError> {
        self.call("remove_all", &[json!(path)]).await.map(drop)
    }

    /// Makes a directory and those above it; `path` ends in `/`.
    pub async fn create_dir(&self, path: &str) -> Result<(), ClientError> {
        self.call("create_dir", &[json!(path)]).await.map(drop)
    }

    /// Removes a file; none there is no error.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.call("delete", &[json!(path)]).await.map(drop)
    }

    /// Paths in the directory `path`, itself included; with `deep` also those below. Directories end in `/`.
    pub async fn list(
        &self,
        path: &str,
        deep: bool,
    ) -> Result<BoxStream<'static, Result<String, ClientError>>, ClientError> {
        let method = if deep { "scan" } else { "list" };
        let values = self.session.stream_call(self.driver, method, &[json!(path)]).await?;
        let text = |value: Value| value.as_str().map(str::to_owned);
        let no_text = || ClientError::Protocol("the exporter", "a path that is no text".to_owned());
        Ok(values.map(move |value| text(value?).ok_or_else(no_text)).boxed())
    }

    /// What the storage can do.
    pub async fn capability(&self) -> Result<Value, ClientError> {
        self.call("capability", &[]).await
    }

    /// A request that anyone may make for `seconds`; `operation` is `stat`, `read` or `write`.
    pub async fn presign(&self, operation: &str, path: &str, seconds: u32) -> Result<Value, ClientError> {
        self.call(&format!("presign_{operation}"), &[json!(path), json!(seconds)]).await
    }
}

/// A `FlasherClient`: writes images to a device, and reads them back.
#[derive(Clone, Copy)]
pub struct Flasher<'a> {
    session: &'a Session,
    driver: &'a str,
}

impl<'a> Flasher<'a> {
    /// The flasher at the dotted path `driver`.
    #[must_use]
    pub fn new(session: &'a Session, driver: &'a str) -> Self {
        Self { session, driver }
    }

    /// Writes an image to `partition`, or to the device's default.
    ///
    /// # Errors
    /// When anything fails, or the driver has not taken all of the image.
    pub async fn flash<R>(
        &self,
        image: R,
        partition: Option<&str>,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError>
    where
        R: AsyncRead + Send + Unpin,
    {
        self.session.send_file(self.driver, "flash", |handle| vec![handle, json!(partition)], image, transfer).await
    }

    /// As [`Flasher::flash`], with an image that the exporter fetches from `url` by itself.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn flash_url(&self, url: &str, partition: Option<&str>) -> Result<Value, ClientError> {
        let handle = json!({ "kind": "presigned_request", "headers": {}, "url": url, "method": "GET" });
        self.session.call(self.driver, "flash", &[handle, json!(partition)]).await
    }

    /// Reads an image from `partition`, or from the device's default.
    ///
    /// # Errors
    /// When anything fails, or the driver did not say that the image is complete.
    pub async fn dump<W>(
        &self,
        image: W,
        partition: Option<&str>,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError>
    where
        W: AsyncWrite + Send + Unpin,
    {
        self.session.receive_file(self.driver, "dump", |handle| vec![handle, json!(partition)], image, transfer).await
    }

    /// As [`Flasher::flash`], from a file of this machine.
    ///
    /// # Errors
    /// As [`Flasher::flash`].
    pub async fn flash_from(
        &self,
        image: &Path,
        partition: Option<&str>,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError> {
        self.flash(open_file(image).await?, partition, transfer).await
    }

    /// As [`Flasher::dump`], into a file of this machine, which appears when it is complete.
    ///
    /// # Errors
    /// As [`Flasher::dump`].
    pub async fn dump_into(
        &self,
        image: &Path,
        partition: Option<&str>,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError> {
        let (partial, file) = Partial::create(image)?;
        let got = self.dump(file, partition, transfer).await?;
        partial.complete()?;
        Ok(got)
    }
}

/// A `StorageMuxClient`: a medium that belongs to the host or to the device under test.
#[derive(Clone, Copy)]
pub struct StorageMux<'a> {
    session: &'a Session,
    driver: &'a str,
}

impl<'a> StorageMux<'a> {
    /// The multiplexer at the dotted path `driver`.
    #[must_use]
    pub fn new(session: &'a Session, driver: &'a str) -> Self {
        Self { session, driver }
    }

    /// Gives the medium to the `host` or the `dut`, or takes it from both (`off`).
    pub async fn switch(&self, to: &str) -> Result<(), ClientError> {
        self.session.call(self.driver, to, &[]).await.map(drop)
    }

    /// Writes the medium.
    ///
    /// # Errors
    /// When anything fails, or the driver has not taken all of the image.
    pub async fn write<R>(&self, image: R, transfer: Transfer<'_>) -> Result<Transferred, ClientError>
    where
        R: AsyncRead + Send + Unpin,
    {
        self.session.send_file(self.driver, "write", |handle| vec![handle], image, transfer).await
    }

    /// Reads the medium.
    ///
    /// # Errors
    /// When anything fails, or the driver did not say that the image is complete.
    pub async fn read<W>(&self, image: W, transfer: Transfer<'_>) -> Result<Transferred, ClientError>
    where
        W: AsyncWrite + Send + Unpin,
    {
        self.session.receive_file(self.driver, "read", |handle| vec![handle], image, transfer).await
    }

    /// As a `StorageMuxFlasherClient` flashes: takes the medium, writes it, and gives it to the device under test,
    /// also when writing failed.
    ///
    /// # Errors
    /// As [`StorageMux::write`].
    pub async fn flash<R>(&self, image: R, transfer: Transfer<'_>) -> Result<Transferred, ClientError>
    where
        R: AsyncRead + Send + Unpin,
    {
        self.switch("host").await?;
        let written = self.write(image, transfer).await;
        let given = self.switch("dut").await;
        let written = written?;
        given?;
        Ok(written)
    }

    /// As a `StorageMuxFlasherClient` dumps: takes the medium, reads it, and gives it to the device under test, also
    /// when reading failed.
    ///
    /// # Errors
    /// As [`StorageMux::read`].
    pub async fn dump<W>(&self, image: W, transfer: Transfer<'_>) -> Result<Transferred, ClientError>
    where
        W: AsyncWrite + Send + Unpin,
    {
        self.switch("host").await?;
        let read = self.read(image, transfer).await;
        let given = self.switch("dut").await;
        let read = read?;
        given?;
        Ok(read)
    }
}

async fn open_file(path: &Path) -> Result<File, ClientError> {
    let mut file = File::open(path).await.map_err(|source| file_error("open", path, source))?;
    file.set_max_buf_size(WRITE_BUFFER);
    Ok(file)
}

/// A file that gets its name when it is complete.
struct Partial {
    temporary: tempfile::TempPath,
    path: PathBuf,
}

impl Partial {
    fn create(path: &Path) -> Result<(Self, BufWriter<File>), ClientError> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any new file: the caller's umask takes away what shall not be.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let made = builder.prefix(".jumpstarter-").permissions(permissions).tempfile_in(dir);
        let (file, temporary) = made.map_err(|source| file_error("create", path, source))?.into_parts();
        let file = BufWriter::with_capacity(WRITE_BUFFER, File::from_std(file));
        Ok((Self { temporary, path: path.to_owned() }, file))
    }

    fn complete(self) -> Result<(), ClientError> {
        let Self { temporary, path } = self;
        temporary.persist(&path).map_err(|err| file_error("complete", &path, err.error))
    }
}

fn file_error(verb: &str, path: &Path, source: io::Error) -> ClientError {
    ClientError::File { action: format!("{verb} '{}'", path.display()), source }
}
