//! Between a client's file and a file of the exporter.
use std::{io, path::Path};

use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter},
};

use crate::DriverError;

use super::{CHUNK, Resource};

/// Gathers small chunks: each write is a hand-over to another thread.
const BUFFER: usize = 1024 * 1024;

impl Resource {
    /// Fills the file (or the device) at `path`, which is made or cut if need be, with what the client sends; returns
    /// how many bytes that were. They are with the operating system, not yet forced to the disk. Then [`finish`].
    ///
    /// [`finish`]: Resource::finish
    ///
    /// # Errors
    /// When the client's file is incomplete, or the exporter's cannot be written. What it has then is incomplete.
    ///
    /// # Cancel safety
    /// Not cancel safe: the file is left with a part.
    pub async fn copy_to_file(&mut self, path: &Path) -> Result<u64, DriverError> {
        let failed = |source| disk("write", path, source);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).open(path).await.map_err(failed)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let mut written = 0;
        while let Some(chunk) = self.read().await? {
            file.write_all(&chunk).await.map_err(failed)?;
            written += chunk.len() as u64;
        }
        // Also tells of a write that failed after it was taken.
        file.flush().await.map_err(failed)?;
        Ok(written)
    }

    /// Sends the file at `path` to the client; returns how many bytes it has. Then [`finish`].
    ///
    /// [`finish`]: Resource::finish
    ///
    /// # Errors
    /// When the file cannot be read, or the client has left.
    ///
    /// # Cancel safety
    /// Not cancel safe: a part may be sent.
    pub async fn copy_from_file(&mut self, path: &Path) -> Result<u64, DriverError> {
        let failed = |source| disk("read", path, source);
        let mut file = File::open(path).await.map_err(failed)?;
        let mut sent = 0;
        loop {
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
            if file.read_buf(&mut chunk).await.map_err(failed)? == 0 {
                return Ok(sent);
            }
            sent += chunk.len() as u64;
            self.write(chunk.freeze()).await?;
        }
    }
}

fn disk(verb: &str, path: &Path, source: io::Error) -> DriverError {
    let advice = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room on the exporter's disk",
        _ => "",
    };
    DriverError::Io { message: format!("{verb} '{}': {source}{advice}", path.display()), source }
}
