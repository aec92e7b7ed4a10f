//! The API of a service on this machine: HTTP over `admin.sock` in its data directory, which only its user can open.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use kube::client::{Body, middleware::BaseUriLayer};
use tokio::net::UnixStream;
use tower::{Layer as _, Service};

use crate::failure::Failure;

/// Name of the socket within the data directory.
const SOCKET: &str = "admin.sock";

/// A client of the service that uses this data directory. Fails early, with advice, when nobody listens.
pub(super) fn client(data_dir: &Path, namespace: &str) -> Result<kube::Client, Failure> {
    let path = data_dir.join(SOCKET);
    std::os::unix::net::UnixStream::connect(&path).map_err(|error| unreachable_socket(data_dir, &path, &error))?;
    let service = Client::builder(TokioExecutor::new()).build::<_, Body>(Dial { path });
    // The host is not looked at; HTTP wants one.
    let service = BaseUriLayer::new(Uri::from_static("http://localhost")).layer(service);
    Ok(kube::Client::new(service, namespace))
}

fn unreachable_socket(data_dir: &Path, path: &Path, error: &io::Error) -> Failure {
    let (directory, socket) = (data_dir.display(), path.display());
    Failure::new(match error.kind() {
        io::ErrorKind::NotFound if !data_dir.is_dir() => format!("The data directory {directory} does not exist"),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "No service is running on the data directory {directory}; start it with `jumpstarter serve --data-dir \
             {directory}`"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("Only the user who runs the service may administer it: {socket}: {error}")
        }
        _ => format!("The service cannot be reached through {socket}: {error}"),
    })
}

/// Opens connections to the socket.
#[derive(Clone)]
struct Dial {
    path: PathBuf,
}

impl Service<Uri> for Dial {
    type Response = Pipe;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Pipe>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.path.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(|stream| Pipe(TokioIo::new(stream))) })
    }
}

/// A connection as hyper wants it.
struct Pipe(TokioIo<UnixStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
