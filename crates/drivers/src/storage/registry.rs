//! The client streams of a session that wait for the call that names them.
use std::{
    collections::HashMap,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, stream::BoxStream};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{DriverError, DriverLog, NoLog};

use super::{
    Encoding, Resource,
    presigned::{self, Method},
};

/// What the client sends; an error means that it was cut off, and must never be taken for the end.
pub type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// Chunks on their way to a client that wait for flow control.
const QUEUE: usize = 8;
/// Client streams of one session that no call has named yet; each may hold a flow-control window of bytes.
const MAX_WAITING: usize = 64;

/// What a driver sends to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Bytes of the file.
    Data(Bytes),
    /// The file is complete. Without it, the end of the stream means that the driver gave up.
    End,
}

/// Opens the files that calls name. Each driver gets its own when it is built; all of a session share the streams.
#[derive(Clone)]
pub struct Resources {
    waiting: Arc<Mutex<HashMap<Uuid, Waiting>>>,
    log: DriverLog,
}

struct Waiting {
    chunks: Chunks,
    outgoing: mpsc::Sender<Outgoing>,
}

/// A handle, as clients send it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Handle {
    ClientStream {
        uuid: Uuid,
        #[serde(default)]
        x_jmp_content_encoding: Option<String>,
    },
    PresignedRequest {
        headers: HashMap<String, String>,
        url: String,
        method: Method,
    },
}

impl Resources {
    /// No streams yet; for a session, or for a test.
    #[must_use]
    pub fn new() -> Self {
        Self { waiting: Arc::default(), log: DriverLog::new("", Arc::new(NoLog)) }
    }

    /// The same streams for the driver that logs to `log`.
    #[must_use]
    pub(crate) fn for_driver(&self, log: DriverLog) -> Self {
        Self { waiting: Arc::clone(&self.waiting), log }
    }

    /// Keeps a client's stream until a call names it by the returned stream's [`ClientStream::id`].
    ///
    /// # Errors
    /// When the session holds too many streams that no call has named.
    pub fn offer(&self, chunks: Chunks) -> Result<ClientStream, DriverError> {
        let (outgoing, receiver) = mpsc::channel(QUEUE);
        let id = Uuid::new_v4();
        let mut waiting = self.waiting.lock().expect("no code panics while it holds the streams");
        if waiting.len() >= MAX_WAITING {
            let message = format!("{MAX_WAITING} client files are open and unused; use or close one of them first");
            return Err(DriverError::Other(message));
        }
        waiting.insert(id, Waiting { chunks, outgoing });
        Ok(ClientStream { id, waiting: Arc::clone(&self.waiting), outgoing: receiver })
    }

    /// The file behind `handle`, an argument of a call. A client's stream can be opened once.
    ///
    /// # Errors
    /// When `handle` is no handle, or its stream was used already or has left.
    pub async fn open(&self, handle: &Value) -> Result<Resource, DriverError> {
        let invalid = |err| DriverError::InvalidArgument(format!("the argument is not the handle of a file: {err}"));
        match Handle::deserialize(handle).map_err(invalid)? {
            Handle::ClientStream { uuid, x_jmp_content_encoding } => {
                let encoding = x_jmp_content_encoding.as_deref().map(str::parse::<Encoding>).transpose();
                let encoding = encoding.map_err(DriverError::InvalidArgument)?;
                let found = self.waiting.lock().expect("no code panics while it holds the streams").remove(&uuid);
                let Waiting { chunks, outgoing } = found.ok_or_else(|| {
                    let why = "it was used before, or its client has left";
                    DriverError::Other(format!("the client's file {uuid} is not open: {why}"))
                })?;
                Ok(Resource::client(chunks, outgoing, encoding))
            }
            Handle::PresignedRequest { headers, url, method } => {
                presigned::open(method, &url, headers, self.log.clone()).await
            }
        }
    }

    /// How many client streams wait for a call.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().expect("no code panics while it holds the streams").len()
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// The client's end of a stream: yields what the driver sends. Dropping it tells the driver that the client has left.
pub struct ClientStream {
    id: Uuid,
    waiting: Arc<Mutex<HashMap<Uuid, Waiting>>>,
    outgoing: mpsc::Receiver<Outgoing>,
}

impl ClientStream {
    /// What a handle calls it.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl Stream for ClientStream {
    type Item = Outgoing;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        self.outgoing.poll_recv(cx)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let removed = self.waiting.lock().expect("no code panics while it holds the streams").remove(&self.id);
        // Dropped outside the lock: it holds the request's body.
        drop(removed);
    }
}
