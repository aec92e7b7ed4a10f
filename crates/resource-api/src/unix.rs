//! The socket in the data directory.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Longest that a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(30);
/// Time for open requests once the service stops; watches end at once.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept (too many open files, most likely).
const RETRY: Duration = Duration::from_millis(100);

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody listens there already.
    #[error("{0} is served by another process: stop it first")]
    InUse(PathBuf),
    /// Something other than a socket is there.
    #[error("{0} exists and is not a socket: move it away")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("listen on {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Ends what would last longer than the service: watches look for it among a request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Stop(pub(crate) CancellationToken);

/// Serves `router` on a socket that only its owner may open, until `cancel` fires. A socket that nobody listens on is
/// replaced. Returns once every request has ended, or five seconds after the stop.
///
/// # Cancel safety
/// Not cancel safe: dropping the future aborts requests and leaves the socket file. Use `cancel`.
pub async fn serve_unix(path: &Path, router: Router, cancel: CancellationToken) -> Result<(), ServeError> {
    let listener = bind(path).await?;
    let identity = fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let router = router.layer(Extension(Stop(cancel.clone())));
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // All three keep nothing when dropped.
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &permits) => match accepted {
                Ok((stream, permit)) => {
                    let (router, cancel) = (router.clone(), cancel.clone());
                    connections.spawn(async move {
                        serve(stream, router, cancel).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept on the admin socket");
                    tokio::time::sleep(RETRY).await;
                }
            },
        }
    }
    drop(listener);
    // A successor may have put its own there.
    if fs::metadata(path).map(|found| (found.dev(), found.ino())).ok() == identity {
        let _ = fs::remove_file(path);
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn serve(stream: UnixStream, router: Router, cancel: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        // Polled again below when the stop came first.
        outcome = connection.as_mut() => outcome,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "admin connection");
    }
}

/// Binds in a private directory first: at no moment may others connect.
async fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Bind { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ServeError::NotASocket(path.to_owned())),
        Ok(_) => match timeout(DRAIN, UnixStream::connect(path)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(Err(error)) => return Err(failed(error)),
            Ok(Ok(_)) | Err(_) => return Err(ServeError::InUse(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let name = format!(".{:x}", std::process::id());
    let private = path.parent().map_or_else(|| PathBuf::from(&name), |parent| parent.join(&name));
    let _ = fs::remove_dir_all(&private);
    fs::DirBuilder::new().mode(0o700).create(&private).map_err(failed)?;
    let listener = bind_in(&private, path);
    let _ = fs::remove_dir_all(&private);
    listener.map_err(failed)
}

fn bind_in(private: &Path, path: &Path) -> io::Result<UnixListener> {
    let hidden = private.join("s");
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
    fs::rename(&hidden, path)?;
    Ok(listener)
}
