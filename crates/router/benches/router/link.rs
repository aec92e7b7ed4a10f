//! The peers: connections to a router under test, halves of streams on them, and both for splices as well.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use jumpstarter_protocol::v1::StreamRequest;
use jumpstarter_transport::{CLIENT_STREAM_WINDOW, CONNECTION_WINDOW};
use prost::Message as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// What the peers look like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// DATA frames that they take and send.
    pub frame: u32,
    /// Their stream window.
    pub window: u32,
}

impl Shape {
    /// Our clients and exporters, but for the frames.
    pub fn with_frame(frame: u32) -> Self {
        Self { frame, window: CLIENT_STREAM_WINDOW }
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn connector() -> TlsConnector {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    });
    TlsConnector::from(config.clone())
}

/// From the `n`th loopback address, each of which has 28,000 ports.
async fn tcp_from(address: SocketAddr, n: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = std::net::Ipv4Addr::new(127, 0, 1, u8::try_from(n / 5_000 % 200).unwrap());
    socket.bind((from, 0).into()).unwrap();
    let stream = socket.connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn tls(address: SocketAddr, n: usize) -> tokio_rustls::client::TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    connector().connect(name, tcp_from(address, n).await).await.unwrap()
}

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A pair of connections that a splice joins.
pub async fn spliced(address: SocketAddr, secured: bool, n: usize) -> [Box<dyn Io>; 2] {
    static PAIRING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    // A splice joins every second connection to the one before: nobody else's may come in between.
    let (one, other) = {
        let _pairing = PAIRING.lock().await;
        (tcp_from(address, n).await, tcp_from(address, n).await)
    };
    if !secured {
        return [Box::new(one), Box::new(other)];
    }
    // The splice does both handshakes at once, when it has both connections.
    let name = || ServerName::try_from("localhost").unwrap();
    let (one, other) = tokio::join!(connector().connect(name(), one), connector().connect(name(), other));
    [Box::new(one.unwrap()), Box::new(other.unwrap())]
}

/// Bytes that are sent together.
const TOGETHER: usize = 64 * 1024;

/// A stream, and what is to be written to it.
struct Gathered {
    tls: tokio_rustls::client::TlsStream<TcpStream>,
    written: BytesMut,
}

impl Gathered {
    fn poll_send_off(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.written.is_empty() {
            let sent = ready!(Pin::new(&mut self.tls).poll_write(cx, &self.written))?;
            self.written.advance(sent);
        }
        Pin::new(&mut self.tls).poll_flush(cx)
    }
}

/// h2's end of it.
struct Gathering(Arc<Mutex<Gathered>>);

impl AsyncRead for Gathering {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0.lock().unwrap().tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let mut gathered = self.0.lock().unwrap();
        if gathered.written.len() >= TOGETHER {
            ready!(gathered.poll_send_off(cx))?;
        }
        gathered.written.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut gathered = self.0.lock().unwrap();
        ready!(gathered.poll_send_off(cx))?;
        Pin::new(&mut gathered.tls).poll_shutdown(cx)
    }
}

/// An HTTP/2 connection to a router; dropped, it is cut.
pub struct Link {
    send: SendRequest<Bytes>,
    _task: JoinSet<()>,
}

impl Link {
    pub async fn connect(address: SocketAddr, shape: Shape) -> Self {
        Self::connect_nth(address, shape, 0).await
    }

    /// One of so many that one address has not ports enough.
    pub async fn connect_nth(address: SocketAddr, shape: Shape, n: usize) -> Self {
        let gathered = Arc::new(Mutex::new(Gathered { tls: tls(address, n).await, written: BytesMut::new() }));
        let connection = h2::client::Builder::new()
            .initial_window_size(shape.window)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(shape.frame)
            .handshake::<_, Bytes>(Gathering(gathered.clone()));
        let (send, connection) = connection.await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            // As grpc's peers do, and so that this half of the work costs little: what h2 has written is sent together.
            let polled = poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                drop(gathered.lock().unwrap().poll_send_off(cx));
                ended
            });
            drop(polled.await);
        });
        Self { send, _task: task }
    }

    /// Opens a half; its response is not awaited.
    pub async fn open(&self, ticket: &str) -> Half {
        let mut request = Request::post("https://localhost/jumpstarter.v1.RouterService/Stream").body(()).unwrap();
        let headers = request.headers_mut();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        headers.insert("te", "trailers".parse().unwrap());
        headers.insert("authorization", format!("Bearer {ticket}").parse().unwrap());
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, out) = send.send_request(request, false).unwrap();
        Half { writer: Writer(out), reader: Reader { response: Some(response), body: None } }
    }
}

/// One half of a stream.
pub struct Half {
    pub writer: Writer,
    pub reader: Reader,
}

pub struct Writer(SendStream<Bytes>);

impl Writer {
    /// Sends one DATA frame of exactly these bytes, once flow control lets it go.
    pub async fn send(&mut self, frame: Bytes) {
        self.0.reserve_capacity(frame.len());
        while self.0.capacity() < frame.len() {
            poll_fn(|cx| self.0.poll_capacity(cx)).await.expect("open").unwrap();
        }
        self.0.send_data(frame, false).unwrap();
    }
}

pub struct Reader {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl Reader {
    /// The next bytes.
    pub async fn chunk(&mut self) -> Bytes {
        self.next().await.expect("bytes, not the end")
    }

    /// The next bytes, unless there are no more.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(response) = self.response.take() {
            let response = response.await.unwrap();
            assert!(!response.headers().contains_key("grpc-status"), "refused: {:?}", response.headers());
            self.body = Some(response.into_body());
        }
        let body = self.body.as_mut().expect("present after the response");
        let chunk = body.data().await?.ok()?;
        body.flow_control().release_capacity(chunk.len()).unwrap();
        Some(chunk)
    }

    /// Waits for `length` bytes.
    pub async fn skip(&mut self, length: usize) {
        assert!(self.skipped(length).await, "the end came before {length} bytes");
    }

    /// Waits for `length` bytes or the end; says whether the bytes came.
    pub async fn skipped(&mut self, length: usize) -> bool {
        let mut left = length;
        while left > 0 {
            let Some(chunk) = self.next().await else { return false };
            left = left.checked_sub(chunk.len()).expect("no more than was sent");
        }
        true
    }
}

/// A message of `length` bytes with all that is around it.
pub fn message(length: usize) -> Bytes {
    // Prefix, field and length of the payload.
    let around = 5
        + 1
        + if length < 128 + 7 {
            1
        } else if length < 16_384 + 8 {
            2
        } else {
            3
        };
    let body = StreamRequest { payload: vec![7; length - around].into(), frame_type: 0 }.encode_to_vec();
    let mut bytes = BytesMut::with_capacity(length);
    bytes.extend_from_slice(&[0]);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&body);
    assert_eq!(bytes.len(), length);
    bytes.freeze()
}

/// Reads exactly `length` bytes.
pub async fn read(io: &mut (impl AsyncRead + Unpin), length: usize) -> std::io::Result<()> {
    io.read_exact(&mut vec![0; length]).await.map(drop)
}

pub async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}
