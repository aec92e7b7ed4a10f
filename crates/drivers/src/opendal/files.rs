//! Open files by handle.
use std::{
    collections::HashMap,
    fmt::Write as _,
    str::FromStr,
    sync::{Arc, Mutex},
};

use futures::TryStreamExt as _;
use md5::Md5;
use opendal::{FuturesBytesStream, Operator, Writer};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use crate::{DriverError, storage::Resource};

use super::error::failed;

/// Files that one session may have open.
const MAX_OPEN: usize = 256;
/// Bytes of one read or write of a local disk: each is a hand-over to another thread.
const BLOCK: usize = 1024 * 1024;
/// Reads or writes of a local disk under way at a time, so that it works while the network does.
const AHEAD: usize = 2;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rb" => Ok(Self::Read),
            "wb" => Ok(Self::Write),
            _ => Err(format!("open: mode must be 'rb' or 'wb', got '{text}'")),
        }
    }
}

/// The open files of a session.
pub(super) struct Files {
    operator: Operator,
    open: Mutex<HashMap<Uuid, Arc<AsyncMutex<File>>>>,
}

enum File {
    Reader { path: String, position: u64, size: Size, closed: bool },
    Writer(WriterState),
}

/// A writer, and what became of it.
enum WriterState {
    Open(Box<Writer>),
    /// A write failed; what is stored is incomplete.
    Broken,
    Closed,
}

/// Size of a file; some web servers do not tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Known(u64),
    Unknown,
}

impl Files {
    pub(super) fn new(operator: Operator) -> Self {
        Self { operator, open: Mutex::default() }
    }

    pub(super) async fn open(&self, path: &str, mode: Mode) -> Result<Uuid, DriverError> {
        let file = match mode {
            Mode::Read => {
                let found = self.operator.stat(path).await.map_err(failed)?;
                if found.is_dir() {
                    return Err(DriverError::InvalidArgument(format!("open: '{path}' is a directory")));
                }
                let untold = found.content_length() == 0 && self.operator.info().scheme() == "http";
                let size = if untold { Size::Unknown } else { Size::Known(found.content_length()) };
                File::Reader { path: path.to_owned(), position: 0, size, closed: false }
            }
            Mode::Write => {
                let writer = if is_local(&self.operator) {
                    self.operator.writer_with(path).chunk(BLOCK).concurrent(AHEAD).await
                } else {
                    self.operator.writer(path).await
                };
                File::Writer(WriterState::Open(Box::new(writer.map_err(failed)?)))
            }
        };
        let mut open = self.open.lock().expect("no code panics while it holds the files");
        if open.len() >= MAX_OPEN {
            let message = format!("open: {MAX_OPEN} files are open in this session; close some of them first");
            return Err(DriverError::Other(message));
        }
        let fd = Uuid::new_v4();
        open.insert(fd, Arc::new(AsyncMutex::new(file)));
        Ok(fd)
    }

    fn get(&self, fd: &str) -> Result<Arc<AsyncMutex<File>>, DriverError> {
        let id: Uuid = fd
            .parse()
            .map_err(|_| DriverError::InvalidArgument(format!("'{fd}' is not the handle of an open file")))?;
        let found = self.open.lock().expect("no code panics while it holds the files").get(&id).cloned();
        found.ok_or_else(|| DriverError::Other(format!("file {id} is not open in this session")))
    }

    /// Sends a file to the client, from where it stands to its end.
    pub(super) async fn read(&self, fd: &str, to: &mut Resource) -> Result<(), DriverError> {
        let file = self.get(fd)?;
        let mut file = file.lock().await;
        let File::Reader { path, position, size, closed: false } = &mut *file else {
            return Err(not_open_for("reading"));
        };
        let mut bytes = stream(&self.operator, path, *position, *size).await?;
        while let Some(chunk) = bytes.try_next().await.map_err(|err| told(err, &self.operator))? {
            *position += chunk.len() as u64;
            to.write(chunk).await?;
        }
        match size {
            Size::Known(size) if *position < *size => {
                Err(DriverError::Other(format!("'{path}' became shorter while it was read")))
            }
            Size::Known(_) | Size::Unknown => Ok(()),
        }
    }

    /// Writes what the client sends, behind what was written before.
    pub(super) async fn write(&self, fd: &str, from: &mut Resource) -> Result<(), DriverError> {
        let file = self.get(fd)?;
        let mut file = file.lock().await;
        let File::Writer(state) = &mut *file else { return Err(not_open_for("writing")) };
        // Broken until it went well: a caller that leaves drops this future anywhere.
        let WriterState::Open(mut writer) = std::mem::replace(state, WriterState::Broken) else {
            return Err(not_open_for("writing"));
        };
        while let Some(chunk) = from.read().await? {
            writer.write(chunk).await.map_err(failed)?;
        }
        *state = WriterState::Open(writer);
        Ok(())
    }

    pub(super) async fn seek(&self, fd: &str, offset: i64, whence: i64) -> Result<u64, DriverError> {
        let file = self.get(fd)?;
        let mut file = file.lock().await;
        let File::Reader { position, size, closed: false, .. } = &mut *file else {
            return Err(not_open_for("seeking"));
        };
        let from = match (whence, *size) {
            (0, _) => 0,
            (1, _) => *position,
            (2, Size::Known(size)) => size,
            (2, Size::Unknown) => {
                return Err(DriverError::Unimplemented("the server does not tell the size of this file".to_owned()));
            }
            _ => return Err(DriverError::InvalidArgument(format!("seek: whence must be 0, 1 or 2, got {whence}"))),
        };
        let target = from.checked_add_signed(offset);
        *position = target
            .ok_or_else(|| DriverError::InvalidArgument(format!("seek: {offset} from {from} is before the start")))?;
        Ok(*position)
    }

    pub(super) async fn tell(&self, fd: &str) -> Result<u64, DriverError> {
        let file = self.get(fd)?;
        match &*file.lock().await {
            File::Reader { position, closed: false, .. } => Ok(*position),
            File::Reader { .. } | File::Writer(_) => Err(not_open_for("seeking")),
        }
    }

    /// Closes a file; what was written is stored then.
    pub(super) async fn close(&self, fd: &str) -> Result<(), DriverError> {
        let file = self.get(fd)?;
        match &mut *file.lock().await {
            File::Reader { closed, .. } => *closed = true,
            File::Writer(state) => {
                if let WriterState::Open(mut writer) = std::mem::replace(state, WriterState::Closed) {
                    writer.close().await.map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn is_closed(&self, fd: &str) -> Result<bool, DriverError> {
        let file = self.get(fd)?;
        Ok(match &*file.lock().await {
            File::Reader { closed, .. } => *closed,
            File::Writer(state) => matches!(state, WriterState::Closed),
        })
    }

    pub(super) async fn is_writable(&self, fd: &str) -> Result<bool, DriverError> {
        let file = self.get(fd)?;
        Ok(matches!(&*file.lock().await, File::Writer(_)))
    }

    /// Lets go of every file. What was not closed stays incomplete.
    pub(super) fn forget_all(&self) {
        self.open.lock().expect("no code panics while it holds the files").clear();
    }
}

fn not_open_for(what: &str) -> DriverError {
    DriverError::InvalidArgument(format!("the file is not open for {what}"))
}

fn is_local(operator: &Operator) -> bool {
    operator.info().scheme() == "fs"
}

/// The bytes of `path` from `position`.
async fn stream(operator: &Operator, path: &str, position: u64, size: Size) -> Result<FuturesBytesStream, DriverError> {
    let reader = if is_local(operator) {
        operator.reader_with(path).chunk(BLOCK).concurrent(AHEAD).await
    } else {
        operator.reader(path).await
    };
    let reader = reader.map_err(failed)?;
    let stream = match size {
        Size::Known(size) => reader.into_bytes_stream(position.min(size)..size).await,
        Size::Unknown => reader.into_bytes_stream(position..).await,
    };
    stream.map_err(failed)
}

fn told(err: std::io::Error, operator: &Operator) -> DriverError {
    let message = format!("read from storage '{}': {err}", operator.info().scheme());
    DriverError::Io { message, source: err }
}

/// `md5` or `sha256` of a file, in hexadecimal digits.
pub(super) async fn hash(operator: &Operator, path: &str, algorithm: &str) -> Result<String, DriverError> {
    match algorithm {
        "md5" => digest::<Md5>(operator, path).await,
        "sha256" => digest::<Sha256>(operator, path).await,
        _ => Err(DriverError::InvalidArgument(format!("hash: algo must be 'md5' or 'sha256', got '{algorithm}'"))),
    }
}

async fn digest<D: Digest>(operator: &Operator, path: &str) -> Result<String, DriverError> {
    // Asked for first, since a reader that is made for nothing says so with its first bytes only.
    let found = operator.stat(path).await.map_err(failed)?;
    let untold = found.content_length() == 0 && operator.info().scheme() == "http";
    let size = if untold { Size::Unknown } else { Size::Known(found.content_length()) };
    let mut bytes = stream(operator, path, 0, size).await?;
    let mut digest = D::new();
    while let Some(chunk) = bytes.try_next().await.map_err(|err| told(err, operator))? {
        digest.update(&chunk);
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// A number of the wire as an integer; what is none is out of any range that is checked for.
#[expect(clippy::cast_possible_truncation, reason = "truncation gives a number that is refused")]
pub(super) fn whole(number: f64) -> i64 {
    if number.fract() == 0.0 { number as i64 } else { -1 }
}
