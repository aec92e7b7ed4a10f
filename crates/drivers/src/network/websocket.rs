//! `jumpstarter_driver_network.driver.WebsocketNetwork`: a WebSocket server reachable from the lab host.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::{FutureExt as _, Sink as _, Stream as _, future::BoxFuture};
use reqwest::Url;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

use crate::{Build, ByteStream, Driver, DriverError, Value, args::Args, tls};

use super::{CLIENT, address::tell, within};

/// Larger messages end the stream with an error; a message is held in memory while it is handed on.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Bytes that may wait to be sent; a writer is held at this.
const MAX_UNSENT: usize = 1024 * 1024;

/// Connects anew for each stream.
pub(super) struct WebsocketNetwork {
    url: Url,
    /// As configured.
    text: String,
    told: bool,
}

impl WebsocketNetwork {
    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let text: String = keys.required("url");
        let told = keys.or("enable_address", true);
        let url = Url::parse(&text).map_err(|err| err.to_string()).and_then(|url| match url.scheme() {
            "ws" | "wss" => Ok(url),
            other => Err(format!("scheme '{other}' is neither ws nor wss")),
        });
        if let Err(fault) = &url {
            keys.fault("url", fault);
        }
        keys.end()?;
        Ok(Self { url: url?, text, told })
    }

    /// The URL without what may be secret.
    fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{}", self.url.scheme(), self.url.host_str().unwrap_or_default(), self.url.path())
    }

    async fn connect(&self) -> Result<Messages, DriverError> {
        let shown = self.shown();
        let connector = match self.url.scheme() {
            "wss" => Connector::Rustls(tls::client_config().map_err(DriverError::Other)?),
            _ => Connector::Plain,
        };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE))
            .max_write_buffer_size(MAX_UNSENT + MAX_MESSAGE);
        // The handshake keeps its buffers in the future.
        let connect = Box::pin(async {
            let opened = connect_async_tls_with_config(self.url.as_str(), Some(limits), true, Some(connector)).await;
            opened.map_err(|err| match err {
                Error::Io(err) => err,
                Error::Http(answer) => io::Error::other(format!("the server answered with {}", answer.status())),
                other => io::Error::other(other.to_string()),
            })
        });
        let (socket, _) = within(connect).await.map_err(|err| DriverError::connection(&shown, err))?;
        Ok(Messages { socket, rest: Bytes::new(), closing: false })
    }
}

impl Driver for WebsocketNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            if method != "address" {
                return Err(DriverError::not_found(method));
            }
            Args::new(method, args).end()?;
            tell(self.told)?;
            Ok(json!(self.text))
        }
        .boxed()
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            match method {
                "connect" => Ok(Box::new(self.connect().await?) as ByteStream),
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }
}

/// Messages as reads and writes: what is written at once goes out as one binary message, and a read never joins two.
///
/// A WebSocket has no half-close, so that the end of the writer closes it; what the server sends until it has closed,
/// too, is still read.
struct Messages {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What of the last message did not fit into a read.
    rest: Bytes,
    closing: bool,
}

impl AsyncRead for Messages {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !buf.filled().is_empty() {
            // A copier tops up what it could not hand on yet. It reads again, into an empty buffer, when it has.
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            self.rest = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(text))) => text.into(),
                // Answered by the socket itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => continue,
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Poll::Ready(Ok(())),
                Some(Err(err)) => return Poll::Ready(Err(system(err))),
            };
        }
        let n = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Messages {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(system)?;
        let n = buf.len().min(MAX_MESSAGE);
        let message = Message::Binary(Bytes::copy_from_slice(&buf[..n]));
        Pin::new(&mut self.socket).start_send(message).map_err(system)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(system)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(system)?;
            self.closing = true;
            match Pin::new(&mut self.socket).start_send(Message::Close(None)) {
                // The server was first.
                Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => {}
                Err(err) => return Poll::Ready(Err(system(err))),
            }
        }
        match ready!(Pin::new(&mut self.socket).poll_flush(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(err) => Poll::Ready(Err(system(err))),
        }
    }
}

fn system(err: Error) -> io::Error {
    match err {
        Error::Io(err) => err,
        Error::Capacity(err) => io::Error::new(io::ErrorKind::InvalidData, err.to_string()),
        other => io::Error::other(other.to_string()),
    }
}
