//! The peers: connections to a router under test, halves of streams on them, and both for splices as well.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use jumpstarter_protocol::v1::StreamRequest;
use jumpstarter_transport::{CLIENT_STREAM_WINDOW, WINDOW_RATIO};
use prost::Message as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
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
    if !secured {
        let one = tcp_from(address, n).await;
        return [Box::new(one), Box::new(tcp_from(address, n).await)];
    }
    // The splice does both handshakes at once, when it has both connections.
    let (one, other) = (tcp_from(address, n).await, tcp_from(address, n).await);
    let name = || ServerName::try_from("localhost").unwrap();
    let (one, other) = tokio::join!(connector().connect(name(), one), connector().connect(name(), other));
    [Box::new(one.unwrap()), Box::new(other.unwrap())]
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
        let connection = h2::client::Builder::new()
            .initial_window_size(shape.window)
            .initial_connection_window_size(shape.window.saturating_mul(WINDOW_RATIO).min((1 << 31) - 1))
            .max_frame_size(shape.frame)
            .handshake::<_, Bytes>(tls(address, n).await);
        let (send, connection) = connection.await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move { drop(connection.await) });
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
        if let Some(response) = self.response.take() {
            let response = response.await.unwrap();
            assert!(!response.headers().contains_key("grpc-status"), "refused: {:?}", response.headers());
            self.body = Some(response.into_body());
        }
        let body = self.body.as_mut().expect("present after the response");
        let chunk = body.data().await.expect("bytes, not the end").unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        chunk
    }

    /// Waits for `length` bytes.
    pub async fn skip(&mut self, length: usize) {
        let mut left = length;
        while left > 0 {
            left = left.checked_sub(self.chunk().await.len()).expect("no more than was sent");
        }
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
