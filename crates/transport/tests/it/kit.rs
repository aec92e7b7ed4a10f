//! A server to test against, and bare clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use jumpstarter_transport::listen::{BindOptions, Listener, bind_tcp};
use jumpstarter_transport::serve::ServeTotals;
use jumpstarter_transport::{OwnCa, PeerAddr, ServeCounters, ServeLimits, Server, ServingTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A certificate from a CA of its own in `directory`, for this machine's own names.
pub(crate) fn own_tls(directory: &Path) -> Arc<ServingTls> {
    Arc::new(ServingTls::own(OwnCa::load_or_create(directory).unwrap(), &[]).unwrap())
}

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) done: JoinHandle<std::io::Result<()>>,
    pub(crate) counters: Arc<ServeCounters>,
    /// Lets requests for `/wait` answer.
    pub(crate) release: Arc<Notify>,
    /// Told when a request for `/wait` has arrived.
    pub(crate) arrived: Arc<Notify>,
}

impl Running {
    pub(crate) fn totals(&self) -> ServeTotals {
        self.counters.totals()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("localhost:{}", self.addr.port())
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.done).await.expect("the server ends").unwrap().unwrap();
    }
}

/// `/wait` answers when released, `/peer` says where the request came from, anything else echoes the body.
async fn answer(
    request: Request<Incoming>,
    arrived: Arc<Notify>,
    release: Arc<Notify>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/wait" => {
            arrived.notify_one();
            release.notified().await;
            Bytes::from("released")
        }
        "/peer" => Bytes::from(format!("{:?}", request.extensions().get::<PeerAddr>())),
        _ => request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
    };
    Ok(Response::new(Full::new(body)))
}

pub(crate) async fn start(tls: Option<Arc<ServingTls>>, limits: ServeLimits) -> Running {
    let listeners = bind_tcp("127.0.0.1:0", &BindOptions::default()).await.unwrap();
    start_on(listeners, tls, limits)
}

pub(crate) fn start_on(listeners: Vec<Listener>, tls: Option<Arc<ServingTls>>, limits: ServeLimits) -> Running {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = {
        let (arrived, release) = (Arc::clone(&arrived), Arc::clone(&release));
        tower::service_fn(move |request| answer(request, Arc::clone(&arrived), Arc::clone(&release)))
    };
    let addr = listeners.iter().find_map(Listener::tcp_addr).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let counters = Arc::new(ServeCounters::default());
    let stop = CancellationToken::new();
    let server = Server { listeners, tls, limits, counters: Arc::clone(&counters) };
    let done = tokio::task::spawn(server.serve(service, stop.clone()));
    Running { addr, stop, done, counters, release, arrived }
}

/// Starts a server with the standard gRPC health service.
pub(crate) async fn start_health(tls: Option<Arc<ServingTls>>, limits: ServeLimits) -> Running {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let routes = tonic::service::Routes::new(health).prepare();
    let listeners = bind_tcp("127.0.0.1:0", &BindOptions::default()).await.unwrap();
    let addr = listeners[0].tcp_addr().unwrap();
    let counters = Arc::new(ServeCounters::default());
    let stop = CancellationToken::new();
    let server = Server { listeners, tls, limits, counters: Arc::clone(&counters) };
    let done = tokio::task::spawn(server.serve(routes, stop.clone()));
    Running { addr, stop, done, counters, release: Arc::default(), arrived: Arc::default() }
}

/// Asks the health service; the status of the whole server as text.
pub(crate) async fn check(channel: tonic::transport::Channel) -> Result<String, tonic::Status> {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let mut client = HealthClient::new(channel);
    let answer = tokio::time::timeout(LONG, client.check(HealthCheckRequest::default())).await.expect("in time")?;
    Ok(answer.into_inner().status().as_str_name().to_owned())
}

/// A TLS connection that takes any certificate and offers `alpn`.
pub(crate) async fn tls_connect(addr: SocketAddr, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    jumpstarter_transport::install_crypto_provider();
    let mut config =
        ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anything)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
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
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
