//! The child of an exporter: started when needed, kept for later sessions.
use std::{
    env,
    ffi::OsString,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use hyper_util::rt::TokioIo;
use jumpstarter_config::Instances;
use jumpstarter_drivers::{DriverError, DriverHost, HostError, HostedSession, HostedTree, LogSink};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::UnixStream, sync::Mutex};
use tonic::transport::{Channel, Endpoint};

use crate::{
    child::{Child, Failure},
    driver::Link,
    graft,
};

/// Environment variable that names the interpreter which has the driver packages.
pub const INTERPRETER: &str = "JMP_PYTHON";
const DEFAULT_INTERPRETER: &str = "python3";

/// Importing and constructing all drivers; looking for hardware may take a while.
const OPEN_LIMIT: Duration = Duration::from_mins(1);
const RESET_LIMIT: Duration = Duration::from_mins(1);
/// A driver that hangs while it closes costs the child.
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
/// As the exporter's own sessions have it: one call cannot starve the others.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;

/// Runs drivers in a Python child process.
pub struct PythonHost {
    interpreter: OsString,
    child: Mutex<Option<Arc<Child>>>,
    next: AtomicU64,
}

impl PythonHost {
    /// Uses the interpreter `interpreter`, a path or a name on PATH. Nothing is started yet.
    #[must_use]
    pub fn new(interpreter: impl Into<OsString>) -> Self {
        Self { interpreter: interpreter.into(), child: Mutex::default(), next: AtomicU64::new(0) }
    }

    /// Uses the interpreter that [`INTERPRETER`] names, else `python3` on PATH.
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(env::var_os(INTERPRETER).filter(|v| !v.is_empty()).unwrap_or_else(|| DEFAULT_INTERPRETER.into()))
    }

    /// The running child, or a new one in place of one that ended.
    async fn child(&self) -> Result<Arc<Child>, HostError> {
        let mut child = self.child.lock().await;
        if let Some(child) = child.as_ref().filter(|child| child.ended().is_none()) {
            return Ok(Arc::clone(child));
        }
        let started = Child::start(&self.interpreter).await.map_err(|message| HostError { path: None, message })?;
        let started = Arc::new(started);
        *child = Some(Arc::clone(&started));
        Ok(started)
    }

    async fn open(&self, drivers: &Instances, logs: Arc<dyn LogSink>) -> Result<HostedTree, HostError> {
        let host = |message: String| HostError { path: None, message };
        let child = self.child().await?;
        let dir = TempDir::with_prefix("jumpstarter-python-")
            .map_err(|err| host(format!("make a directory for the Python process's socket: {err}")))?;
        let socket = dir.path().join("s");
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let drivers = serde_json::to_value(drivers).map_err(|err| host(format!("encode the driver tree: {err}")))?;
        child.listen(key, logs);
        let request = json!({"key": key, "socket": socket, "drivers": trimmed(drivers)});
        let opened = match child.ask("open", request, OPEN_LIMIT).await {
            Ok(opened) => opened,
            Err(Failure { message, path }) => {
                child.unlisten(key);
                return Err(HostError { path, message });
            }
        };
        let session = PythonSession { key, child: Arc::clone(&child), _dir: dir };
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel: Channel = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector_lazy(connect);
        let Value::Object(shapes) = opened else {
            return Err(host("the Python process reported no drivers".to_owned()));
        };
        let link = Arc::new(Link { channel, child });
        match graft::entries(shapes, &link, "", 0) {
            Ok(children) => Ok(HostedTree { children, session: Arc::new(session) }),
            Err(err) => {
                if let Err(err) = session.close().await {
                    tracing::warn!(%err, "close the Python drivers");
                }
                Err(err)
            }
        }
    }
}

/// The tree without keys that say nothing: the child tells kinds of nodes by the keys that are there.
fn trimmed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, trimmed(value))).collect()
        }
        other => other,
    }
}

impl DriverHost for PythonHost {
    fn start<'a>(
        &'a self,
        drivers: &'a Instances,
        logs: Arc<dyn LogSink>,
    ) -> BoxFuture<'a, Result<HostedTree, HostError>> {
        self.open(drivers, logs).boxed()
    }
}

/// The instances of one session in the child.
struct PythonSession {
    key: u64,
    child: Arc<Child>,
    /// Holds the socket.
    _dir: TempDir,
}

impl HostedSession for PythonSession {
    fn reset(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async move {
            let reset = self.child.ask("reset", json!({"key": self.key}), RESET_LIMIT).await;
            reset.map(drop).map_err(|failure| DriverError::Other(failure.message))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async move {
            // A child that hangs is killed by this, so that the next session gets a new one.
            let closed = self.child.ask("close", json!({"key": self.key}), CLOSE_LIMIT).await;
            self.child.unlisten(self.key);
            closed.map(drop).map_err(|failure| DriverError::Other(failure.message))
        }
        .boxed()
    }
}
