//! HTTP/2 on byte streams.
use std::{io, pin::pin};

use hyper::server::conn::http2;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use jumpstarter_protocol::v1::exporter_service_server::ExporterServiceServer;
use jumpstarter_tunnel::MAX_CHUNK;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tonic::{
    codec::CompressionEncoding,
    service::{Routes, interceptor::InterceptedService},
};

use super::{GRACE, Session, authority::LenientAuthority, stream::Streams};

/// Flow-control window of one call: fills 1 Gbit/s over a way of 30 ms, as other peers have it.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Window of the connection: 32 calls' worth, which also keeps h2's budget for tiny frames out of reach.
const CONNECTION_WINDOW: u32 = 32 * STREAM_WINDOW;
/// Larger frames cost less per byte. One of them with its header fits into one message of the tunnel.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB fit")]
const FRAME: u32 = MAX_CHUNK as u32 - 48;
/// Calls one connection may have open.
const MAX_CALLS: u32 = 1024;

impl Session {
    /// Serves one connection until the peer leaves or the session closes.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future cuts the connection.
    pub async fn serve<IO>(&self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let exporter = ExporterServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Gzip);
        let routes = Routes::new(InterceptedService::new(exporter, self.password()))
            .add_service(InterceptedService::new(Streams(self.clone()), self.password()))
            .prepare();
        let mut builder = http2::Builder::new(Owned(self.inner.tasks.clone()));
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_concurrent_streams(MAX_CALLS);
        let mut connection =
            pin!(builder.serve_connection(TokioIo::new(LenientAuthority::new(io)), TowerToHyperService::new(routes)));
        let outcome = tokio::select! {
            // Polled again below when the session closes first, so nothing is lost.
            outcome = connection.as_mut() => outcome,
            () = self.inner.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(err) = outcome {
            tracing::debug!(err = &err as &dyn std::error::Error, "a session connection ended");
        }
    }

    /// Serves every connection to a Unix socket until the session closes.
    pub async fn serve_unix(&self, listener: UnixListener) -> io::Result<()> {
        loop {
            let (io, _) = tokio::select! {
                () = self.inner.closing.cancelled() => return Ok(()),
                // `accept` keeps no state.
                accepted = listener.accept() => accepted?,
            };
            self.spawn_connection(io);
        }
    }

    /// Serves every connection to a TCP port until the session closes.
    pub async fn serve_tcp(&self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (io, _) = tokio::select! {
                () = self.inner.closing.cancelled() => return Ok(()),
                // `accept` keeps no state.
                accepted = listener.accept() => accepted?,
            };
            io.set_nodelay(true)?;
            self.spawn_connection(io);
        }
    }

    fn spawn_connection<IO>(&self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let session = self.clone();
        self.inner.tasks.spawn(async move { session.serve(io).await });
    }
}

/// Runs the tasks of a connection under the session's tracker.
#[derive(Clone)]
struct Owned(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
