//! Puts the parts together.

use std::{sync::Arc, time::Duration};

use jumpstarter_auth::{TicketIssuer, TokenIssuer};
use jumpstarter_protocol::{
    FILE_DESCRIPTOR_SET, client::v1::client_service_server::ClientServiceServer,
    v1::controller_service_server::ControllerServiceServer,
};
use jumpstarter_store::{EventRecorder, Store};
use prometheus_client::registry::Registry;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::warn;

use crate::{
    caller::Gate,
    client_service::ClientCalls,
    config::{ControllerConfig, TokenLifetime},
    controller_service::ControllerCalls,
    credentials::Credentials,
    dial::Dialer,
    exporter_service::ExporterCalls,
    fence::FencedStore,
    lease_calls::{LeaseCalls, MAX_WATCHERS, Polls},
    metrics::Metrics,
    migrate,
    presence::Presence,
    rendezvous::Rendezvous,
    routers::{self, LocalRouter, RouterMetrics, Routers},
    runtime::Runtime,
    world::World,
};

/// What a controller is made of.
pub struct ControllerParts {
    /// Settings.
    pub config: ControllerConfig,
    /// Where the objects are.
    pub store: Arc<dyn Store>,
    /// Signs and checks identity tokens.
    pub issuer: Arc<TokenIssuer>,
    /// Signs router tickets, and what routers are asked with.
    pub tickets: Arc<TicketIssuer>,
    /// The router of this process, if it has one and it is in the list of routers.
    pub local_router: Option<LocalRouter>,
    /// Told what becomes of objects.
    pub events: Arc<dyn EventRecorder>,
}

/// Time for commits under way to finish when the controller stops; the rest is dropped.
const LAST_COMMITS: Duration = Duration::from_secs(1);
/// Time for tasks to end once the store is out of reach for them.
const LAST_STEPS: Duration = Duration::from_millis(250);

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The lab could not be loaded.
    #[error("load the lab from the store")]
    Load(#[source] jumpstarter_store::StoreError),
    /// The reflection service could not be built.
    #[error("build the reflection service: {0}")]
    Reflection(String),
}

/// A running controller.
pub struct Controller {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    fence: CancellationToken,
    draining: CancellationToken,
    routes: Routes,
}

impl Controller {
    /// Loads the lab and starts the tasks. Streams end with UNAVAILABLE once `stop` fires.
    ///
    /// # Cancel safety
    /// Not cancel safe: tasks that were started stop when the returned value is dropped.
    pub async fn start(
        parts: ControllerParts,
        registry: &mut Registry,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let ControllerParts { config, store, issuer, tickets, local_router, events } = parts;
        let fence = CancellationToken::new();
        let store: Arc<dyn Store> = Arc::new(FencedStore::new(store, fence.clone()));
        let config = Arc::new(config);
        let metrics = Metrics::register(registry);
        let world = World::default();
        let presence = Presence::new(config.presence_grace, config.limits.tear_down, config.hook_limit);
        let rendezvous = Rendezvous::default();
        // The runtime outlives the calls it answers: it stops when this value is shut down, not with the streams.
        let runtime_stop = CancellationToken::new();
        let (mut runtime, lab) = Runtime::new(
            Arc::clone(&config),
            Arc::clone(&store),
            world.clone(),
            presence.clone(),
            rendezvous.clone(),
            metrics.clone(),
            Arc::clone(&events),
            runtime_stop.clone(),
        );
        migrate::take_over(&*store, &config.namespace).await.map_err(StartError::Load)?;
        let version = runtime.load().await.map_err(StartError::Load)?;
        let lifetime = TokenLifetime::apply(&config.live, Arc::clone(&issuer));
        let credentials = Arc::new(Credentials {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            issuer: Arc::clone(&issuer),
            events,
        });

        let mut tasks = JoinSet::new();
        tasks.spawn(runtime.run(version));
        tasks.spawn({
            let credentials = Arc::clone(&credentials);
            let stop = runtime_stop.clone();
            async move { credentials.run(stop).await }
        });
        tasks.spawn(lifetime.follow(runtime_stop.clone()));
        let routers = Routers::new(local_router);
        let told = RouterMetrics { routers: routers.clone(), live: config.live.clone() };
        registry.sub_registry_with_prefix("jumpstarter").register_collector(Box::new(told));
        let watching = routers::follow(
            routers.clone(),
            config.live.clone(),
            Arc::clone(&tickets),
            config.clock.clone(),
            runtime_stop.clone(),
        );
        tasks.spawn(watching);

        let gate = Gate {
            config: Arc::clone(&config),
            issuer,
            verified: Arc::default(),
            world: world.clone(),
            store,
            metrics: metrics.clone(),
        };
        let leases = LeaseCalls {
            config: Arc::clone(&config),
            lab: lab.clone(),
            world: world.clone(),
            polls: Polls::default(),
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
            stop: stop.clone(),
        };
        let exporters = ExporterCalls {
            gate: gate.clone(),
            lab,
            world: world.clone(),
            presence: presence.clone(),
            rendezvous: rendezvous.clone(),
            stop: stop.clone(),
        };
        let draining = stop.child_token();
        let dialer = Dialer {
            config: Arc::clone(&config),
            world: world.clone(),
            presence,
            rendezvous,
            tickets,
            metrics,
            routers,
            stop: draining.clone(),
        };
        let controller_calls = ControllerCalls {
            config: Arc::clone(&config),
            gate: gate.clone(),
            world: world.clone(),
            exporters,
            leases: leases.clone(),
            dialer,
        };
        let client_calls = ClientCalls { config, gate, world, leases, credentials };
        let routes = routes(controller_calls, client_calls).await?;
        Ok(Self { tasks, stop: runtime_stop, fence, draining, routes })
    }

    /// The gRPC services: ControllerService, ClientService, health and reflection.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// Answers new dials with UNAVAILABLE from now on, which clients retry; everything else goes on.
    pub fn refuse_dials(&self) {
        self.draining.cancel();
    }

    /// Stops the tasks after the last call was answered: commits under way have a second to finish. Takes less than
    /// 1.5 s also when the store hangs; afterwards this controller sends nothing more to the store, whoever still
    /// holds its [`routes`](Self::routes).
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping aborts the tasks and cuts them off from the store at once.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if timeout(LAST_COMMITS, join_all(&mut self.tasks)).await.is_err() {
            warn!(
                "the store takes too long: commits under way are given up, what became of them is read at the next start"
            );
        }
        self.fence.cancel();
        if timeout(LAST_STEPS, join_all(&mut self.tasks)).await.is_err() {
            self.tasks.abort_all();
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.fence.cancel();
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!("a task of the controller panicked");
        }
    }
}

async fn routes(controller: ControllerCalls, client: ClientCalls) -> Result<Routes, StartError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = |error: tonic_reflection::server::Error| StartError::Reflection(error.to_string());
    let reflection_v1 = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(reflection)?;
    let reflection_v1alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()
        .map_err(reflection)?;
    let gzip = tonic::codec::CompressionEncoding::Gzip;
    Ok(Routes::new(ControllerServiceServer::new(controller).accept_compressed(gzip))
        .add_service(ClientServiceServer::new(client).accept_compressed(gzip))
        .add_service(health_service)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha))
}
