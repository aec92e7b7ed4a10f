//! Raw HTTP/2 peers of a router.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Digest, data, soon};

/// A connection; dropped, it is cut.
pub struct Link {
    send: SendRequest<Bytes>,
    ping: Option<h2::PingPong>,
    task: JoinSet<Result<(), h2::Error>>,
}

impl Link {
    pub async fn new(address: SocketAddr) -> Self {
        Self::try_new(address).await.unwrap()
    }

    /// As `new`, for a router that may be gone.
    pub async fn try_new(address: SocketAddr) -> io::Result<Self> {
        let socket = soon(TcpStream::connect(address)).await?;
        socket.set_nodelay(true)?;
        Self::over(socket).await
    }

    /// On a byte stream of the caller's.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<Self> {
        let (send, mut connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(32 << 20)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(io::Error::other)?;
        let ping = connection.ping_pong();
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Self { send, ping, task })
    }

    /// Waits for the end of the connection; why it ended, unless in good order.
    pub async fn closed(&mut self) -> Result<(), h2::Error> {
        soon(self.task.join_next()).await.expect("waited for once").expect("no panic")
    }

    /// Whether the router still answers on this connection.
    pub async fn answers(&mut self) -> bool {
        match &mut self.ping {
            Some(ping) => soon(ping.ping(h2::Ping::opaque())).await.is_ok(),
            None => false,
        }
    }

    pub async fn open(&self, ticket: &str) -> Peer {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {ticket}").parse().unwrap());
        self.open_with(headers).await
    }

    /// The HTTP status of a request without a body.
    pub async fn status(&self, method: http::Method, path: &str, content_type: &str) -> u16 {
        let request = Request::builder().method(method).uri(format!("http://router{path}"));
        let request = request.header("content-type", content_type).body(()).unwrap();
        let mut send = soon(self.send.clone().ready()).await.unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        soon(response).await.unwrap().status().as_u16()
    }

    /// A call with other headers than usual.
    pub async fn open_with(&self, headers: HeaderMap) -> Peer {
        self.try_open_with(headers).await.unwrap()
    }

    /// The same on a connection that may be gone.
    pub async fn try_open(&self, ticket: &str) -> Result<Peer, h2::Error> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {ticket}").parse().unwrap());
        self.try_open_with(headers).await
    }

    async fn try_open_with(&self, headers: HeaderMap) -> Result<Peer, h2::Error> {
        let mut request = Request::post("http://router/jumpstarter.v1.RouterService/Stream").body(()).unwrap();
        *request.version_mut() = http::Version::HTTP_2;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        request.headers_mut().extend(headers);
        let mut send = soon(self.send.clone().ready()).await?;
        let (response, out) = send.send_request(request, false)?;
        Ok(Peer {
            writer: Writer { out },
            reader: Reader {
                response: Some(response),
                received: None,
                buffer: BytesMut::new(),
                headers: HeaderMap::new(),
                link: None,
            },
        })
    }
}

/// How a call ended for its caller.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Status(i32, String),
    Reset(Option<Reason>),
}

impl End {
    pub fn ok() -> Self {
        Self::Status(0, String::new())
    }

    pub fn code(&self) -> i32 {
        match self {
            Self::Status(code, _) => *code,
            Self::Reset(_) => -1,
        }
    }
}

/// One half, from its caller's side.
pub struct Peer {
    pub writer: Writer,
    pub reader: Reader,
}

impl Peer {
    /// Sends bytes as flow control allows.
    pub async fn send(&mut self, bytes: Bytes) {
        self.writer.send(bytes).await.unwrap();
    }

    /// Sends bytes as soon as flow control allows, without waiting for it.
    pub fn queue(&mut self, bytes: Bytes) {
        self.writer.out.send_data(bytes, false).unwrap();
    }

    pub async fn send_data(&mut self, payload: &[u8]) {
        soon(self.send(data(payload))).await;
    }

    pub fn finish(&mut self) {
        self.writer.finish().unwrap();
    }

    pub fn reset(&mut self, reason: Reason) {
        self.writer.out.send_reset(reason);
    }

    /// Keeps the connection for as long as the peer.
    pub fn owning(mut self, link: Link) -> Self {
        self.reader.link = Some(link);
        self
    }

    /// Cuts the connection.
    pub fn cut(self) {
        drop(self);
    }

    /// Waits for the response headers.
    pub async fn accepted(&mut self) {
        soon(self.reader.received()).await.unwrap();
        assert!(!self.reader.headers.contains_key("grpc-status"), "refused: {:?}", self.reader.headers);
    }

    /// Those of the response, once it is there.
    pub fn headers(&self) -> &HeaderMap {
        &self.reader.headers
    }

    /// The next bytes, or the end.
    pub async fn chunk(&mut self) -> Result<Bytes, End> {
        self.reader.chunk().await
    }

    /// Reads exactly as many bytes as `expected` and compares them.
    #[track_caller]
    pub fn expect<'a>(&'a mut self, expected: &'a [u8]) -> impl Future<Output = ()> + 'a {
        self.reader.expect(expected)
    }

    /// Reads to the end; the bytes that came, and how it ended.
    #[track_caller]
    pub fn end(&mut self) -> impl Future<Output = (Bytes, End)> {
        self.reader.end()
    }

    /// Reads to the end; the length and hash of the bytes that came, and how it ended.
    pub async fn digest(&mut self) -> (u64, u64, End) {
        let mut digest = Digest::default();
        loop {
            match self.chunk().await {
                Ok(chunk) => digest.add(&chunk),
                Err(end) => return (digest.length, digest.value(), end),
            }
        }
    }
}

/// The request of a half.
pub struct Writer {
    out: SendStream<Bytes>,
}

/// The router reads no more, or is gone.
#[derive(Debug)]
pub struct NotRead;

impl Writer {
    /// Sends bytes as flow control allows.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), NotRead> {
        if bytes.is_empty() {
            return self.out.send_data(bytes, false).map_err(|_| NotRead);
        }
        while !bytes.is_empty() {
            self.out.reserve_capacity(bytes.len());
            let capacity = poll_fn(|cx| self.out.poll_capacity(cx)).await.and_then(Result::ok).ok_or(NotRead)?;
            let part = bytes.split_to(capacity.min(bytes.len()));
            self.out.send_data(part, false).map_err(|_| NotRead)?;
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<(), NotRead> {
        self.out.send_data(Bytes::new(), true).map_err(|_| NotRead)
    }

    pub fn reset(&mut self, reason: Reason) {
        self.out.send_reset(reason);
    }
}

/// How a call ended that got no status.
fn broken(error: &h2::Error) -> End {
    End::Reset(error.reason())
}

/// The response of a half.
pub struct Reader {
    response: Option<ResponseFuture>,
    received: Option<RecvStream>,
    buffer: BytesMut,
    pub headers: HeaderMap,
    link: Option<Link>,
}

impl Reader {
    pub async fn received(&mut self) -> Result<&mut RecvStream, End> {
        if let Some(response) = &mut self.response {
            let response = response.await;
            self.response = None;
            let response = response.map_err(|error| broken(&error))?;
            assert_eq!(response.status(), 200);
            self.headers = response.headers().clone();
            self.received = Some(response.into_body());
        }
        self.received.as_mut().ok_or(End::Reset(None))
    }

    /// The status of the answer whatever it is, and that of gRPC if it came at once.
    pub async fn received_any(&mut self) -> Result<(u16, Option<i32>), End> {
        let response = self.response.take().expect("asked once").await;
        let response = response.map_err(|error| End::Reset(error.reason()))?;
        let code = response.headers().get("grpc-status").map(|code| code.to_str().unwrap().parse().unwrap());
        Ok((response.status().as_u16(), code))
    }

    /// The next bytes, or the end.
    pub async fn chunk(&mut self) -> Result<Bytes, End> {
        let received = self.received().await?;
        match received.data().await {
            Some(Ok(chunk)) => {
                received.flow_control().release_capacity(chunk.len()).unwrap();
                Ok(chunk)
            }
            Some(Err(error)) => Err(broken(&error)),
            None => {
                let trailers = received.trailers().await.map_err(|error| End::Reset(error.reason()))?;
                let trailers = trailers.unwrap_or_else(|| self.headers.clone());
                let text = |name| trailers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
                Err(End::Status(text("grpc-status").parse().expect("a status"), text("grpc-message")))
            }
        }
    }

    /// Reads exactly as many bytes as `expected` and compares them.
    #[track_caller]
    pub fn expect<'a>(&'a mut self, expected: &'a [u8]) -> impl Future<Output = ()> + 'a {
        soon(async move {
            while self.buffer.len() < expected.len() {
                let chunk = self.chunk().await.expect("bytes, not an end");
                self.buffer.extend_from_slice(&chunk);
            }
            assert_eq!(self.buffer.split_to(expected.len()), expected);
        })
    }

    /// Reads to the end; the bytes that came, and how it ended.
    #[track_caller]
    pub fn end(&mut self) -> impl Future<Output = (Bytes, End)> {
        soon(async move {
            loop {
                match self.chunk().await {
                    Ok(chunk) => self.buffer.extend_from_slice(&chunk),
                    Err(end) => return (self.buffer.split().freeze(), end),
                }
            }
        })
    }
}
