//! The controller under test.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::middleware::{Next, from_fn};
use jumpstarter_auth::{SigningKey, TicketIssuer, TicketKey, TicketKeys, TicketVerifier, TokenIssuer};
use jumpstarter_controller::{Controller, ControllerConfig, ControllerParts, Peer};
use jumpstarter_model::{
    Client, ClientSpec, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterSpec, Lease, LeaseQuota,
    LeaseQuotaSpec, Timestamp,
};
use jumpstarter_store::{
    EmbeddedOptions, EmbeddedStore, EventRecorder, Key, Kind, Object, ObjectEvent, Store, StoredKind, Write,
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request,
    metadata::MetadataMap,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpConnectInfo},
};

use super::{FakeClient, FakeExporter, Faults, SlowStore, eventually};

pub(crate) const NAMESPACE: &str = "lab";

struct Running {
    controller: Controller,
    stop: CancellationToken,
    server: JoinSet<()>,
    close: CancellationToken,
}

/// Remembers every event.
#[derive(Default)]
pub(crate) struct Told(std::sync::Mutex<Vec<ObjectEvent>>);

impl EventRecorder for Told {
    fn record(&self, event: ObjectEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    /// The reasons of all events about one object, in order.
    pub(crate) fn reasons(&self, kind: Kind, name: &str) -> Vec<&'static str> {
        let events = self.0.lock().unwrap();
        let about = events.iter().filter(|event| event.object.kind == kind && event.object.name == name);
        about.map(|event| event.reason).collect()
    }
}

/// One lab: store, controller and a port that stays the same over restarts.
pub(crate) struct Lab {
    pub(crate) config: ControllerConfig,
    pub(crate) store: EmbeddedStore,
    /// What the controller has in place of the store.
    pub(crate) front: Arc<dyn Store>,
    /// Told what happens to objects.
    pub(crate) events: Arc<Told>,
    pub(crate) issuer: Arc<TokenIssuer>,
    pub(crate) tickets: TicketVerifier,
    pub(crate) address: SocketAddr,
    keys: TicketKeys,
    running: Option<Running>,
    _dir: TempDir,
}

impl Lab {
    /// A lab with usual settings.
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A lab with settings of its own.
    pub(crate) async fn with(change: impl FnOnce(&mut ControllerConfig)) -> Self {
        Self::over(EmbeddedOptions::default(), |store| Arc::new(store), change).await
    }

    /// A lab whose store has faults.
    pub(crate) async fn behind(
        faults: Faults,
        seed: u64,
        change: impl FnOnce(&mut ControllerConfig),
    ) -> (Self, Arc<SlowStore>) {
        let mut slow = None;
        let front = |store| {
            let store = Arc::new(SlowStore::new(store, faults, seed));
            slow = Some(Arc::clone(&store));
            store as Arc<dyn Store>
        };
        let lab = Self::over(EmbeddedOptions::default(), front, change).await;
        (lab, slow.unwrap())
    }

    /// A lab with a store of its own, and something in front of it.
    pub(crate) async fn over(
        options: EmbeddedOptions,
        front: impl FnOnce(EmbeddedStore) -> Arc<dyn Store>,
        change: impl FnOnce(&mut ControllerConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), options).unwrap();
        let mut config = ControllerConfig::new(NAMESPACE, "controller.example:8082", "router.example:8083");
        change(&mut config);
        let keys = TicketKeys::new(TicketKey::generate().unwrap());
        let mut lab = Self {
            config,
            front: front(store.clone()),
            events: Arc::default(),
            store,
            issuer: Arc::new(TokenIssuer::new(SigningKey::generate().unwrap())),
            tickets: TicketVerifier::new(&keys),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            keys,
            running: None,
            _dir: dir,
        };
        lab.run().await;
        lab
    }

    /// Starts the controller on the port that it had.
    pub(crate) async fn run(&mut self) {
        let listener = eventually("bind the port", async || TcpListener::bind(self.address).await.ok()).await;
        self.address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let parts = ControllerParts {
            config: self.config.clone(),
            store: Arc::clone(&self.front),
            issuer: Arc::clone(&self.issuer),
            tickets: Arc::new(TicketIssuer::new(&self.keys)),
            local_router: None,
            events: Arc::clone(&self.events) as Arc<dyn EventRecorder>,
        };
        let controller = Controller::start(parts, &mut Registry::default(), stop.clone()).await.unwrap();
        let routes = Routes::from(controller.routes().into_axum_router().layer(from_fn(name_peer)));
        let close = CancellationToken::new();
        let mut server = JoinSet::new();
        let closed = close.clone();
        server.spawn(async move {
            let server = Server::builder().add_routes(routes);
            let connections = TcpListenerStream::new(listener);
            server.serve_with_incoming_shutdown(connections, closed.cancelled_owned()).await.unwrap();
        });
        self.running = Some(Running { controller, stop, server, close });
    }

    /// Ends every stream, as a shutdown does, and leaves the rest running.
    pub(crate) fn stop_streams(&self) {
        self.running.as_ref().unwrap().stop.cancel();
    }

    /// Stops the controller in an orderly way.
    pub(crate) async fn stop(&mut self) {
        let Running { controller, stop, mut server, close } = self.running.take().unwrap();
        stop.cancel();
        close.cancel();
        super::soon("the server drains", server.join_next()).await;
        super::soon("the controller stops", controller.shutdown()).await;
    }

    /// Stops the controller alone, as when another one is to lead; calls of its peers end as they may.
    pub(crate) async fn shut_down(&mut self) {
        let Running { controller, stop, mut server, close } = self.running.take().unwrap();
        stop.cancel();
        controller.shutdown().await;
        close.cancel();
        server.abort_all();
        while server.join_next().await.is_some() {}
    }

    /// Drops the controller at whatever it is doing; its connections are cut.
    pub(crate) async fn crash(&mut self) {
        let Running { controller, stop, mut server, close } = self.running.take().unwrap();
        drop(controller);
        stop.cancel();
        close.cancel();
        super::soon("the server drains", server.join_next()).await;
    }

    /// A new controller over the same store.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    pub(crate) fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    // ---- objects ----

    pub(crate) async fn write(&self, write: Write) -> Object {
        self.store.transact(vec![write]).await.unwrap().remove(0)
    }

    pub(crate) async fn get<K: StoredKind>(&self, name: &str) -> Option<K> {
        let key = Key::new(K::KIND, NAMESPACE, name);
        self.store.get(&key).await.unwrap().map(|object| object.decode().unwrap())
    }

    /// The lease as stored.
    pub(crate) async fn lease(&self, name: &str) -> Lease {
        self.get(name).await.unwrap_or_else(|| panic!("lease {name} exists"))
    }

    /// The exporter as stored.
    pub(crate) async fn stored_exporter(&self, name: &str) -> Exporter {
        self.get(name).await.unwrap_or_else(|| panic!("exporter {name} exists"))
    }

    /// Changes a stored object as an administrator would.
    pub(crate) async fn edit<K: StoredKind>(&self, name: &str, mut change: impl FnMut(&mut K)) {
        eventually("edit an object", async || {
            let mut object: K = self.get(name).await.unwrap();
            change(&mut object);
            self.store.transact(vec![Write::Update(Object::from_resource(&object))]).await.ok()
        })
        .await;
    }

    pub(crate) async fn delete(&self, kind: Kind, name: &str) {
        self.write(Write::Delete(Key::new(kind, NAMESPACE, name), None)).await;
    }

    /// Waits until the lease looks like this.
    pub(crate) async fn await_lease(&self, name: &str, what: &str, is: impl Fn(&Lease) -> bool) -> Lease {
        eventually(&format!("lease {name} {what}"), async || {
            let lease = self.lease(name).await;
            is(&lease).then_some(lease)
        })
        .await
    }

    /// Waits until the exporter looks like this.
    pub(crate) async fn await_exporter(&self, name: &str, what: &str, is: impl Fn(&Exporter) -> bool) -> Exporter {
        eventually(&format!("exporter {name} {what}"), async || {
            let exporter = self.stored_exporter(name).await;
            is(&exporter).then_some(exporter)
        })
        .await
    }

    /// Waits until the exporter is online, or is not.
    pub(crate) async fn await_online(&self, name: &str, online: bool) {
        self.await_exporter(name, &format!("online: {online}"), |exporter| is_online(exporter) == online).await;
    }

    async fn token(&self, secret: &str) -> String {
        eventually("a token", async || {
            let secret: Secret = self.get(secret).await?;
            let token = secret.data?.remove("token")?;
            Some(String::from_utf8(token.0).unwrap())
        })
        .await
    }

    pub(crate) async fn policy(&self, name: &str, spec: serde_json::Value) {
        let spec: ExporterAccessPolicySpec = serde_json::from_value(spec).unwrap();
        let mut policy = ExporterAccessPolicy::new(name, spec);
        policy.metadata.namespace = Some(NAMESPACE.to_owned());
        self.write(Write::Create(Object::from_resource(&policy))).await;
    }

    pub(crate) async fn quota(&self, name: &str, spec: serde_json::Value) {
        let spec: LeaseQuotaSpec = serde_json::from_value(spec).unwrap();
        let mut quota = LeaseQuota::new(name, spec);
        quota.metadata.namespace = Some(NAMESPACE.to_owned());
        self.write(Write::Create(Object::from_resource(&quota))).await;
    }

    // ---- peers ----

    /// A new client.
    pub(crate) async fn client(&self, name: &str) -> FakeClient {
        self.labelled_client(name, &[]).await
    }

    pub(crate) async fn labelled_client(&self, name: &str, labels: &[(&str, &str)]) -> FakeClient {
        let client = Client { metadata: metadata(name, labels), spec: ClientSpec::default(), status: None };
        self.write(Write::Create(Object::from_resource(&client))).await;
        FakeClient::new(self, self.client_identity(name).await)
    }

    pub(crate) async fn client_identity(&self, name: &str) -> Identity {
        let token = self.token(&format!("{name}-client")).await;
        Identity { kind: "Client", name: name.to_owned(), token }
    }

    /// A new exporter, not yet connected.
    pub(crate) async fn exporter(&self, name: &str, labels: &[(&str, &str)]) -> FakeExporter {
        let exporter = Exporter { metadata: metadata(name, labels), spec: ExporterSpec::default(), status: None };
        self.write(Write::Create(Object::from_resource(&exporter))).await;
        FakeExporter::new(self, self.exporter_identity(name).await)
    }

    pub(crate) async fn exporter_identity(&self, name: &str) -> Identity {
        let token = self.token(&format!("{name}-exporter")).await;
        Identity { kind: "Exporter", name: name.to_owned(), token }
    }

    /// A new exporter that is connected and available, labelled `board=<name>`, and its Status stream.
    pub(crate) async fn available(&self, name: &str) -> (FakeExporter, super::StatusFeed) {
        let exporter = self.exporter(name, &[("board", name)]).await;
        let feed = exporter.come_online().await;
        self.await_online(name, true).await;
        (exporter, feed)
    }
}

/// Says which connection a call came over, as the real listener does.
async fn name_peer(mut request: axum::extract::Request, next: Next) -> axum::response::Response {
    let connection = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    if let Some(address) = connection {
        request.extensions_mut().insert(Peer(address));
    }
    next.run(request).await
}

pub(crate) fn is_online(exporter: &Exporter) -> bool {
    exporter.status.as_ref().is_some_and(|status| {
        jumpstarter_model::condition::is_true(&status.conditions, "Online")
            && jumpstarter_model::condition::is_true(&status.conditions, "Registered")
    })
}

pub(crate) fn metadata(name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        labels: (!labels.is_empty()).then_some(labels),
        ..ObjectMeta::default()
    }
}

/// Who speaks.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Identity {
    pub(crate) fn metadata(&self) -> MetadataMap {
        pairs(&[
            ("jumpstarter-kind", self.kind),
            ("jumpstarter-namespace", NAMESPACE),
            ("jumpstarter-name", &self.name),
            ("authorization", &format!("Bearer {}", self.token)),
        ])
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        with(message, self.metadata())
    }
}

/// A request with exactly this metadata.
pub(crate) fn with<T>(message: T, metadata: MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

/// Metadata of these pairs; a key may occur twice.
pub(crate) fn pairs(pairs: &[(&'static str, &str)]) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (key, value) in pairs {
        map.append(*key, value.parse().unwrap());
    }
    map
}

/// The present.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
