//! One file of a client, while a driver uses it.
use std::{fmt, io};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::DriverError;

use super::{Chunks, Encoding, Outgoing, encoding, outgoing::Sender, presigned::Upload};

/// Largest chunk worth sending at once: larger ones cost latency, smaller ones cost a hand-over each.
pub const CHUNK: usize = 256 * 1024;

/// A client's file: read it to the end or write all of it, then [`finish`](Resource::finish).
///
/// Dropping it unfinished tells the client that the driver gave up, so that half a file is never taken for a whole one.
pub struct Resource {
    chunks: Chunks,
    way: Way,
    upload: Option<Upload>,
}

/// The way to the client.
enum Way {
    /// There is none: the file can only be read.
    None,
    /// Nothing was read or written yet.
    Fresh(mpsc::Sender<Outgoing>, Option<Encoding>),
    /// The driver reads; what is left to send is that it has read everything.
    Reading(mpsc::Sender<Outgoing>),
    /// The driver writes.
    Writing(Sender),
}

impl Resource {
    pub(super) fn client(chunks: Chunks, outgoing: mpsc::Sender<Outgoing>, encoding: Option<Encoding>) -> Self {
        let chunks = match encoding {
            None => chunks,
            Some(encoding) => encoding::decode(encoding, chunks),
        };
        Self { chunks, way: Way::Fresh(outgoing, encoding), upload: None }
    }

    /// A file that can be read only.
    pub(super) fn download(chunks: Chunks) -> Self {
        Self { chunks, way: Way::None, upload: None }
    }

    /// A file that can be written only.
    pub(super) fn upload(outgoing: mpsc::Sender<Outgoing>, upload: Upload) -> Self {
        Self { chunks: futures::stream::empty().boxed(), way: Way::Fresh(outgoing, None), upload: Some(upload) }
    }

    /// The same file with other bytes to read.
    pub(super) fn map_chunks(self, change: impl FnOnce(Chunks) -> Chunks) -> Self {
        let Self { chunks, way, upload } = self;
        Self { chunks: change(chunks), way, upload }
    }

    /// The next bytes, never empty; none at the end of a whole file.
    ///
    /// # Errors
    /// When the client left before the end, or what it sent cannot be unpacked. The file is incomplete then.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not returned comes with the next call.
    pub async fn read(&mut self) -> Result<Option<Bytes>, DriverError> {
        if let Way::Fresh(outgoing, _) = &self.way {
            self.way = Way::Reading(outgoing.clone());
        }
        while let Some(chunk) = self.chunks.next().await {
            match chunk {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(Some(chunk)),
                Err(source) => return Err(broken("the client's file ended before it was complete", source)),
            }
        }
        Ok(None)
    }

    /// Sends bytes, waiting while the client is slower.
    ///
    /// # Errors
    /// When the client has left, or the file can only be read.
    ///
    /// # Cancel safety
    /// Not cancel safe: a part may be sent or lost.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), DriverError> {
        if let Way::Fresh(outgoing, encoding) = &self.way {
            self.way = Way::Writing(Sender::new(outgoing.clone(), *encoding));
        }
        let Way::Writing(sender) = &mut self.way else {
            return Err(DriverError::InvalidArgument("the handle names a file that can only be read".to_owned()));
        };
        match sender.send(chunk).await {
            Ok(()) => Ok(()),
            // A refused upload says more than that it was closed.
            Err(source) => match self.upload.take() {
                Some(upload) => Err(upload.result().await.err().unwrap_or_else(|| closed_early(source))),
                None => Err(closed_early(source)),
            },
        }
    }

    /// Says that the driver has read or written everything.
    ///
    /// # Errors
    /// When the last bytes did not get through.
    pub async fn finish(self) -> Result<(), DriverError> {
        let told = match self.way {
            Way::None => Ok(()),
            // A client whose file is read may have left: nobody waits for this.
            Way::Reading(outgoing) => {
                let _ = outgoing.send(Outgoing::End).await;
                Ok(())
            }
            // Empty, but a whole file in its encoding.
            Way::Fresh(outgoing, encoding) => Sender::new(outgoing, encoding).end().await,
            Way::Writing(sender) => sender.end().await,
        };
        match self.upload {
            Some(upload) => upload.result().await,
            None => told.map_err(closed_early),
        }
    }
}

fn closed_early(source: io::Error) -> DriverError {
    broken("the client's file was closed before everything was written", source)
}

fn broken(message: &str, source: io::Error) -> DriverError {
    DriverError::Connection { message: format!("{message}: {source}"), source }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").finish_non_exhaustive()
    }
}
