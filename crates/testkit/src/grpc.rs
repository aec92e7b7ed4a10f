//! A client that speaks to the service directly, for what no `jmp` would send.

use std::{path::Path, time::Duration};

use jumpstarter_config::{ClientConfig, Env, ExporterConfig, ObjectMeta, Secret, TlsConfig};
use jumpstarter_protocol::{
    client::v1::{
        CreateLeaseRequest, DeleteLeaseRequest, Exporter, GetExporterRequest, GetLeaseRequest, Lease,
        client_service_client::ClientServiceClient,
    },
    v1::{
        DialRequest, DialResponse, controller_service_client::ControllerServiceClient,
        router_service_client::RouterServiceClient,
    },
};
use tokio::runtime::Runtime;
use tonic::{
    Request, Status,
    metadata::{MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// Who speaks: what a configuration file says about it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `Client` or `Exporter`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its token.
    pub token: String,
    /// Where the service is.
    pub endpoint: String,
    pub(crate) ca: Vec<u8>,
}

impl Identity {
    /// That of a client.
    #[track_caller]
    pub fn from_config(path: &Path) -> Self {
        let config = ClientConfig::from_file(path, &Env::empty()).expect("read the client's configuration");
        Self::new("Client", config.metadata, config.token, config.endpoint, &config.tls)
    }

    /// That of an exporter.
    #[track_caller]
    pub fn from_exporter_config(path: &Path) -> Self {
        let config = ExporterConfig::from_file(path, &Env::empty()).expect("read the exporter's configuration");
        Self::new("Exporter", config.metadata, config.token, config.endpoint, &config.tls)
    }

    #[track_caller]
    fn new(
        kind: &'static str,
        metadata: ObjectMeta,
        token: Option<Secret>,
        endpoint: Option<String>,
        tls: &TlsConfig,
    ) -> Self {
        Self {
            kind,
            namespace: metadata.namespace.expect("the configuration has a namespace"),
            name: metadata.name,
            token: token.expect("the configuration has a token").expose().to_owned(),
            endpoint: endpoint.expect("the configuration has an endpoint"),
            ca: tls.ca_pem().expect("the CA is base64").expect("the configuration has a CA"),
        }
    }

    /// What an honest peer sends with every call.
    pub fn metadata(&self) -> MetadataMap {
        metadata(&[
            ("jumpstarter-kind", self.kind),
            ("jumpstarter-namespace", &self.namespace),
            ("jumpstarter-name", &self.name),
            ("authorization", &format!("Bearer {}", self.token)),
        ])
    }

    /// A request with the metadata of an honest peer.
    pub fn request<T>(&self, message: T) -> Request<T> {
        with(message, self.metadata())
    }

    /// A connection of its own, made when it is first used.
    pub fn connect(&self) -> Channel {
        connect(&self.endpoint, &self.ca)
    }
}

/// One identity and a connection to the service. Its calls block.
#[derive(Debug)]
pub struct Grpc {
    runtime: Runtime,
    channel: Channel,
    identity: Identity,
}

impl std::ops::Deref for Grpc {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

impl Grpc {
    /// The identity of a client's configuration file.
    #[track_caller]
    pub fn from_config(path: &Path) -> Self {
        Self::new(Identity::from_config(path))
    }

    /// The identity of an exporter's configuration file.
    #[track_caller]
    pub fn from_exporter_config(path: &Path) -> Self {
        Self::new(Identity::from_exporter_config(path))
    }

    #[track_caller]
    fn new(identity: Identity) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("build a runtime");
        let channel = runtime.block_on(async { identity.connect() });
        Self { runtime, channel, identity }
    }

    /// Runs a future to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Runs a call to its end, which must come within a minute.
    pub fn call<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
        let limited = async { tokio::time::timeout(crate::MINUTE, call).await };
        let answer = self.runtime.block_on(limited);
        answer.unwrap_or_else(|_| Err(Status::cancelled("the test waited a minute"))).map(tonic::Response::into_inner)
    }

    /// The connection.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Stub of the client service.
    pub fn clients(&self) -> ClientServiceClient<Channel> {
        ClientServiceClient::new(self.channel())
    }

    /// Stub of the controller service.
    pub fn controller(&self) -> ControllerServiceClient<Channel> {
        ControllerServiceClient::new(self.channel())
    }

    /// Stub of the router at `endpoint`, trusted as the service is. Only inside [`Grpc::block_on`].
    pub fn router_in_runtime(&self, endpoint: &str) -> RouterServiceClient<Channel> {
        RouterServiceClient::new(connect(endpoint, &self.identity.ca))
    }

    /// Full resource name of something in the own namespace.
    pub fn path(&self, collection: &str, name: &str) -> String {
        format!("namespaces/{}/{collection}/{name}", self.namespace)
    }

    /// One exporter.
    pub fn exporter(&self, name: &str) -> Result<Exporter, Status> {
        let request = GetExporterRequest { name: self.path("exporters", name), ..Default::default() };
        self.call(self.clients().get_exporter(self.request(request)))
    }

    /// One lease.
    pub fn lease(&self, name: &str) -> Result<Lease, Status> {
        let request = GetLeaseRequest { name: self.path("leases", name) };
        self.call(self.clients().get_lease(self.request(request)))
    }

    /// A new lease.
    pub fn create(&self, id: &str, lease: Lease) -> Result<Lease, Status> {
        let request = CreateLeaseRequest {
            parent: format!("namespaces/{}", self.namespace),
            lease_id: id.to_owned(),
            lease: Some(lease),
        };
        self.call(self.clients().create_lease(self.request(request)))
    }

    /// The end of a lease.
    pub fn delete(&self, name: &str) -> Result<(), Status> {
        let request = DeleteLeaseRequest { name: self.path("leases", name) };
        self.call(self.clients().delete_lease(self.request(request)))
    }

    /// A ticket for the exporter of a lease.
    pub fn dial(&self, lease: &str) -> Result<DialResponse, Status> {
        let request = DialRequest { lease_name: lease.to_owned(), ..DialRequest::default() };
        self.call(self.controller().dial(self.request(request)))
    }
}

/// A lease as a client asks for it.
pub fn wanted(selector: &str, duration: Duration) -> Lease {
    Lease {
        selector: selector.to_owned(),
        duration: Some(prost_types::Duration {
            seconds: i64::try_from(duration.as_secs()).expect("durations of tests are short"),
            nanos: 0,
        }),
        ..Default::default()
    }
}

/// A request with exactly this metadata.
pub fn with<T>(message: T, metadata: MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

/// Metadata of these pairs; a key may occur twice.
pub fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (key, value) in pairs {
        map.append(*key, MetadataValue::try_from(*value).expect("values of tests are valid"));
    }
    map
}

fn connect(endpoint: &str, ca: &[u8]) -> Channel {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    Endpoint::from_shared(format!("https://{endpoint}"))
        .expect("an endpoint is host:port")
        .tls_config(tls)
        .expect("the CA is a certificate")
        .connect_timeout(Duration::from_secs(10))
        .connect_lazy()
}
