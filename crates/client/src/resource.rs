//! Files of this machine that a driver of the exporter reads or fills, for the time of one call.
use std::{fmt, io, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use jumpstarter_tunnel::{DataMessage, TunnelReader, TunnelWriter};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{ClientError, Session, Value};

/// Bytes of one message. Four frames of the session carry it with its header, and it stays far below the 4 MiB that
/// other peers take.
const CHUNK: usize = 4 * (64 * 1024 - 64) - 32;
/// After a call, its file's stream ends at once; an exporter that forgets to say so is not waited for longer.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How a file travels.
#[derive(Default)]
pub struct Transfer<'a> {
    /// How the file on this side is packed: `gzip`, `xz`, `bz2` or `zstd`. The exporter unpacks what it reads and packs
    /// what it writes.
    pub encoding: Option<&'a str>,
    /// Compute the SHA-256 of what goes through.
    pub digest: bool,
    /// Told how many bytes went through so far.
    pub progress: Option<&'a mut (dyn FnMut(u64) + Send)>,
}

/// What went through.
#[derive(Debug, Clone, PartialEq)]
pub struct Transferred {
    /// Answer of the call.
    pub value: Value,
    /// Bytes of the file on this side.
    pub bytes: u64,
    /// Their SHA-256, if it was asked for.
    pub sha256: Option<Digest>,
}

/// A SHA-256; displays in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Counts and hashes what goes through.
struct Meter<'a> {
    bytes: u64,
    digest: Option<Context>,
    progress: Option<&'a mut (dyn FnMut(u64) + Send)>,
}

impl<'a> Meter<'a> {
    fn new(digest: bool, progress: Option<&'a mut (dyn FnMut(u64) + Send)>) -> Self {
        Self { bytes: 0, digest: digest.then(|| Context::new(&SHA256)), progress }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        if let Some(progress) = &mut self.progress {
            progress(self.bytes);
        }
    }

    fn result(self, value: Value) -> Transferred {
        let sha256 = self.digest.and_then(|digest| digest.finish().as_ref().try_into().ok()).map(Digest);
        Transferred { value, bytes: self.bytes, sha256 }
    }
}

impl Session {
    /// Calls `method` of `driver`, which reads `source`. `args` puts the file's handle among the arguments.
    ///
    /// # Errors
    /// When the call fails, or the driver has not read all of `source`: that is never a success.
    ///
    /// # Cancel safety
    /// Dropping the future cuts the transfer; the driver gets an error.
    pub async fn send_file<R>(
        &self,
        driver: &str,
        method: &str,
        args: impl FnOnce(Value) -> Vec<Value>,
        mut source: R,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError>
    where
        R: AsyncRead + Send + Unpin,
    {
        let Transfer { encoding, digest, progress } = transfer;
        let (handle, mut reader, writer) = self.resource(driver, encoding).await?;
        let mut meter = Meter::new(digest, progress);
        let pump = async {
            loop {
                let mut message = DataMessage::with_capacity(CHUNK);
                let reading = source.read_buf(&mut bytes::BufMut::limit(message.buffer(), CHUNK)).await;
                let failed = |source| Stopped::Here(ClientError::File { action: "read the file".to_owned(), source });
                if reading.map_err(failed)? == 0 {
                    break;
                }
                meter.pass(message.payload());
                writer.send(message).await.map_err(Stopped::There)?;
            }
            writer.shutdown().await.map_err(Stopped::There)?;
            // The driver says that it has read everything.
            while reader.next().await.map_err(Stopped::There)?.is_some() {}
            Ok(())
        };
        let args = args(handle);
        let value = self.beside(driver, method, &args, pump).await?;
        Ok(meter.result(value))
    }

    /// Calls `method` of `driver`, which fills `target`. `args` puts the file's handle among the arguments.
    ///
    /// # Errors
    /// When the call fails, or the driver did not say that the file is complete: that is never a success.
    ///
    /// # Cancel safety
    /// Dropping the future cuts the transfer; the driver gets an error.
    pub async fn receive_file<W>(
        &self,
        driver: &str,
        method: &str,
        args: impl FnOnce(Value) -> Vec<Value>,
        mut target: W,
        transfer: Transfer<'_>,
    ) -> Result<Transferred, ClientError>
    where
        W: AsyncWrite + Send + Unpin,
    {
        let Transfer { encoding, digest, progress } = transfer;
        let (handle, mut reader, writer) = self.resource(driver, encoding).await?;
        let mut meter = Meter::new(digest, progress);
        let pump = async {
            writer.shutdown().await.map_err(Stopped::There)?;
            let failed = |source| Stopped::Here(ClientError::File { action: "write the file".to_owned(), source });
            while let Some(chunk) = reader.next().await.map_err(Stopped::There)? {
                meter.pass(&chunk);
                target.write_all(&chunk).await.map_err(failed)?;
            }
            target.shutdown().await.map_err(failed)
        };
        let args = args(handle);
        let value = self.beside(driver, method, &args, pump).await?;
        Ok(meter.result(value))
    }

    /// Opens a stream for a file; the first value is its handle.
    async fn resource(
        &self,
        driver: &str,
        encoding: Option<&str>,
    ) -> Result<(Value, TunnelReader, TunnelWriter), ClientError> {
        let uuid = self.uuid(driver).await?;
        let wanted = json!({ "kind": "resource", "uuid": uuid, "x_jmp_content_encoding": encoding });
        let (tunnel, metadata) = self.stream(&format!("resource stream of '{driver}'"), &wanted).await?;
        let handle = metadata.get("resource").and_then(|text| serde_json::from_str(text.to_str().ok()?).ok());
        let handle: Value = handle
            .ok_or_else(|| ClientError::Protocol("the exporter", "a file's stream without a handle".to_owned()))?;
        if let Some(encoding) = encoding
            && !metadata.contains_key("x_jmp_accept_encoding")
        {
            let advice = "unpack the file first and send it without compression";
            let text = format!("it does not know the compression {encoding}; {advice}");
            return Err(ClientError::Protocol("the exporter", text));
        }
        let (reader, writer) = tunnel.into_split();
        Ok((handle, reader, writer))
    }

    /// Calls `method` while `pump` moves the bytes; both must come to a good end.
    async fn beside(
        &self,
        driver: &str,
        method: &str,
        args: &[Value],
        pump: impl Future<Output = Result<(), Stopped>> + Send,
    ) -> Result<Value, ClientError> {
        let mut call = std::pin::pin!(self.call(driver, method, args));
        let mut pump = std::pin::pin!(pump);
        let moved = tokio::select! {
            // The one that loses is polled on below.
            moved = pump.as_mut() => moved,
            value = call.as_mut() => {
                let value = value?;
                return match timeout(LAST_WORDS, pump).await {
                    Ok(Ok(())) => Ok(value),
                    Ok(Err(Stopped::Here(err))) => Err(err),
                    Ok(Err(Stopped::There(err))) => Err(incomplete(&err)),
                    Err(_) => Err(ClientError::Incomplete("the exporter did not take or give all of it".to_owned())),
                };
            }
        };
        match moved {
            Ok(()) => call.await,
            // Dropping the call and its stream tells the driver.
            Err(Stopped::Here(err)) => Err(err),
            // The call knows better why.
            Err(Stopped::There(err)) => match timeout(LAST_WORDS, call).await {
                Ok(Err(reason)) => Err(reason),
                Ok(Ok(_)) | Err(_) => Err(incomplete(&err)),
            },
        }
    }
}

/// Why the bytes do not move any more.
enum Stopped {
    /// The file on this side.
    Here(ClientError),
    /// The way, or the other side.
    There(io::Error),
}

fn incomplete(err: &io::Error) -> ClientError {
    ClientError::Incomplete(err.to_string())
}
