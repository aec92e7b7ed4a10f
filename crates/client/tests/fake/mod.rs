//! A controller for one exporter and a router that pairs two streams: scripted, in this process, without TLS.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use jumpstarter_client::{Client, Connector};
use jumpstarter_config::{ClientConfig, Env, ExporterConfig, ObjectMeta, Secret};
use jumpstarter_protocol::{
    client::v1::{
        self as api,
        client_service_server::{ClientService, ClientServiceServer},
    },
    v1::{
        self as pb, ExporterStatus, StreamRequest, StreamResponse,
        controller_service_server::{ControllerService, ControllerServiceServer},
        router_service_server::{RouterService, RouterServiceServer},
    },
};
use jumpstarter_transport::direct::Ticket;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type Frames = BoxStream<'static, Result<StreamResponse, Status>>;
type Half = (Streaming<StreamRequest>, oneshot::Sender<Streaming<StreamRequest>>);

pub const LEASE: &str = "lease-1";

/// The scripted service.
#[derive(Clone)]
pub struct Fake(Arc<State>);

pub struct State {
    address: String,
    /// Lease that the exporter is told of.
    pub assigned: watch::Sender<Option<String>>,
    /// Changing it ends every Status and Listen stream, as an outage would.
    pub epoch: watch::Sender<u32>,
    pub reports: watch::Sender<Vec<ExporterStatus>>,
    pub calls: Mutex<Vec<String>>,
    listener: Mutex<Option<mpsc::Sender<pb::ListenResponse>>>,
    halves: Mutex<HashMap<String, Half>>,
    tickets: Mutex<u32>,
    /// Answers to the next Dials, before they succeed.
    pub refusals: Mutex<Vec<Status>>,
    /// GetLease answers that still say "pending".
    pub pending: Mutex<u32>,
    /// What is told to those who watch the lease, watch by watch; without any this is an old service.
    pub watches: Mutex<VecDeque<Vec<Result<api::Lease, Status>>>>,
    /// Where the exporter takes clients itself.
    announced: Mutex<Option<pb::DirectListener>>,
    /// What is done to the direct ways that clients are told.
    pub twist: Mutex<Option<fn(&mut pb::DirectPath)>>,
    /// Life of direct tickets in seconds.
    pub direct_life: Mutex<u32>,
    /// The direct way that was told last.
    pub last_path: Mutex<Option<pb::DirectPath>>,
}

impl Fake {
    pub async fn start(tasks: &mut JoinSet<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            address: listener.local_addr().unwrap().to_string(),
            assigned: watch::Sender::new(None),
            epoch: watch::Sender::new(0),
            reports: watch::Sender::default(),
            calls: Mutex::default(),
            listener: Mutex::default(),
            halves: Mutex::default(),
            tickets: Mutex::default(),
            refusals: Mutex::default(),
            pending: Mutex::default(),
            watches: Mutex::default(),
            announced: Mutex::default(),
            twist: Mutex::default(),
            direct_life: Mutex::new(30),
            last_path: Mutex::default(),
        };
        let fake = Self(Arc::new(state));
        let server = tonic::transport::Server::builder()
            .add_service(ControllerServiceServer::new(fake.clone()))
            .add_service(ClientServiceServer::new(fake.clone()))
            .add_service(RouterServiceServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tasks.spawn(async move { server.await.unwrap() });
        fake
    }

    pub fn state(&self) -> &State {
        &self.0
    }

    pub async fn client(&self) -> Client {
        let meta = ObjectMeta::new("lab", "alice");
        let mut config = ClientConfig::new("alice", meta, self.0.address.clone(), Secret::new("c-token"));
        config.leases.dial_timeout = 10.0;
        config.leases.acquisition_timeout = 20;
        Client::connect(&config, Connector::plaintext()).await.unwrap()
    }

    pub fn exporter_config(&self, export: &str) -> ExporterConfig {
        let yaml = format!(
            "metadata: {{namespace: lab, name: ex}}\nendpoint: {}\ntoken: e-token\nexport:\n{export}\n",
            self.0.address
        );
        ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap()
    }

    pub fn called(&self, what: &str) -> usize {
        self.0.calls.lock().unwrap().iter().filter(|call| call.as_str() == what).count()
    }

    /// Waits until the exporter's reports satisfy `condition`.
    pub async fn reported(&self, condition: impl Fn(&[ExporterStatus]) -> bool) {
        let mut reports = self.0.reports.subscribe();
        let wait = reports.wait_for(|reports| condition(reports));
        let waited = tokio::time::timeout(Duration::from_secs(30), wait).await.map(|seen| seen.is_ok());
        assert_eq!(waited, Ok(true), "reports: {:?}", self.0.reports.borrow());
    }

    fn record<T>(&self, what: &str, request: &Request<T>, kind: &str) -> Result<(), Status> {
        self.0.calls.lock().unwrap().push(what.to_owned());
        let get = |key| request.metadata().get(key).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let token = if kind == "Exporter" { "Bearer e-token" } else { "Bearer c-token" };
        if get("jumpstarter-kind") != kind || get("jumpstarter-namespace") != "lab" || get("authorization") != token {
            return Err(Status::unauthenticated("wrong identity"));
        }
        Ok(())
    }

    fn around(&self, accepted: bool) -> Option<(pb::DirectInvitation, pb::DirectPath)> {
        if !accepted {
            return None;
        }
        self.0.calls.lock().unwrap().push("asked for a direct way".to_owned());
        let announced = self.0.announced.lock().unwrap().clone()?;
        let ticket = Ticket::generate().unwrap();
        let invitation = pb::DirectInvitation {
            ticket_sha256: ticket.digest().as_bytes().to_vec().into(),
            lifetime_seconds: *self.0.direct_life.lock().unwrap(),
        };
        let mut path = pb::DirectPath {
            endpoints: announced.endpoints,
            certificate_sha256: announced.certificate_sha256,
            ticket: ticket.expose().to_vec().into(),
        };
        if let Some(twist) = *self.0.twist.lock().unwrap() {
            twist(&mut path);
        }
        *self.0.last_path.lock().unwrap() = Some(path.clone());
        Some((invitation, path))
    }

    /// Halves of streams that wait for the other.
    pub fn waiting_halves(&self) -> usize {
        self.0.halves.lock().unwrap().len()
    }

    pub fn lease(&self) -> api::Lease {
        let mut pending = self.0.pending.lock().unwrap();
        let waiting = *pending > 0;
        *pending = pending.saturating_sub(1);
        let condition = |kind: &str, reason: &str| pb::Condition {
            r#type: Some(kind.to_owned()),
            status: Some("True".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some("in the queue".to_owned()),
            ..pb::Condition::default()
        };
        api::Lease {
            name: format!("namespaces/lab/leases/{LEASE}"),
            selector: "<none>".to_owned(),
            client: Some("namespaces/lab/clients/alice".to_owned()),
            exporter: (!waiting).then(|| "namespaces/lab/exporters/ex".to_owned()),
            conditions: vec![if waiting { condition("Pending", "NotAvailable") } else { condition("Ready", "Ready") }],
            ..api::Lease::default()
        }
    }
}

fn until_epoch_changes<S: Stream + Send + 'static>(
    fake: &Fake,
    stream: S,
) -> impl Stream<Item = S::Item> + Send + use<S> {
    let mut epoch = fake.0.epoch.subscribe();
    epoch.mark_unchanged();
    stream.take_until(async move { drop(epoch.changed().await) })
}

#[tonic::async_trait]
impl ControllerService for Fake {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Answer<pb::RegisterResponse> {
        self.record("Register", &request, "Exporter")?;
        assert!(!request.get_ref().reports.is_empty());
        Ok(Response::new(pb::RegisterResponse { uuid: String::new() }))
    }

    async fn unregister(&self, request: Request<pb::UnregisterRequest>) -> Answer<pb::UnregisterResponse> {
        self.record("Unregister", &request, "Exporter")?;
        Ok(Response::new(pb::UnregisterResponse {}))
    }

    async fn report_status(&self, request: Request<pb::ReportStatusRequest>) -> Answer<pb::ReportStatusResponse> {
        self.record("ReportStatus", &request, "Exporter")?;
        self.0.reports.send_modify(|reports| reports.push(request.get_ref().status()));
        Ok(Response::new(pb::ReportStatusResponse {}))
    }

    type ListenStream = BoxStream<'static, Result<pb::ListenResponse, Status>>;

    async fn listen(&self, request: Request<pb::ListenRequest>) -> Answer<Self::ListenStream> {
        self.record("Listen", &request, "Exporter")?;
        assert_eq!(request.get_ref().lease_name, LEASE);
        self.0.announced.lock().unwrap().clone_from(&request.get_ref().direct);
        let (sender, dials) = mpsc::channel(8);
        *self.0.listener.lock().unwrap() = Some(sender);
        Ok(Response::new(until_epoch_changes(self, ReceiverStream::new(dials).map(Ok)).boxed()))
    }

    type StatusStream = Pin<Box<dyn Stream<Item = Result<pb::StatusResponse, Status>> + Send>>;

    async fn status(&self, request: Request<pb::StatusRequest>) -> Answer<Self::StatusStream> {
        self.record("Status", &request, "Exporter")?;
        let changes = WatchStream::new(self.0.assigned.subscribe()).map(|lease| {
            Ok(pb::StatusResponse {
                leased: lease.is_some(),
                client_name: lease.as_ref().map(|_| "alice".to_owned()),
                lease_name: lease,
                ..pb::StatusResponse::default()
            })
        });
        let gone = futures::stream::once(async { Err(Status::unavailable("restarting")) });
        Ok(Response::new(until_epoch_changes(self, changes).chain(gone).boxed()))
    }

    async fn dial(&self, request: Request<pb::DialRequest>) -> Answer<pb::DialResponse> {
        self.record("Dial", &request, "Client")?;
        if let Some(refusal) = self.0.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let ticket = {
            let mut tickets = self.0.tickets.lock().unwrap();
            *tickets += 1;
            tickets.to_string()
        };
        let router = |token| (self.0.address.clone(), token);
        let (router_endpoint, router_token) = router(ticket);
        let listener = self.0.listener.lock().unwrap().clone();
        let (invitation, path) = self.around(request.get_ref().accept_direct).unzip();
        let message = pb::ListenResponse {
            router_endpoint: router_endpoint.clone(),
            router_token: router_token.clone(),
            direct: invitation,
        };
        match listener {
            Some(listener) if listener.send(message).await.is_ok() => {}
            _ => return Err(Status::unavailable("nobody listens")),
        }
        Ok(Response::new(pb::DialResponse { router_endpoint, router_token, direct: path }))
    }

    async fn audit_stream(&self, _: Request<Streaming<pb::AuditStreamRequest>>) -> Answer<()> {
        Err(Status::unimplemented(""))
    }
    async fn get_lease(&self, _: Request<pb::GetLeaseRequest>) -> Answer<pb::GetLeaseResponse> {
        Err(Status::unimplemented(""))
    }
    async fn request_lease(&self, _: Request<pb::RequestLeaseRequest>) -> Answer<pb::RequestLeaseResponse> {
        Err(Status::unimplemented(""))
    }
    async fn release_lease(&self, request: Request<pb::ReleaseLeaseRequest>) -> Answer<pb::ReleaseLeaseResponse> {
        self.record("ReleaseLease", &request, "Exporter")?;
        self.0.assigned.send_replace(None);
        Ok(Response::new(pb::ReleaseLeaseResponse {}))
    }
    async fn list_leases(&self, _: Request<pb::ListLeasesRequest>) -> Answer<pb::ListLeasesResponse> {
        Err(Status::unimplemented(""))
    }
    async fn get_service_endpoints(
        &self,
        _: Request<pb::GetServiceEndpointsRequest>,
    ) -> Answer<pb::GetServiceEndpointsResponse> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl ClientService for Fake {
    type WatchLeaseStream = BoxStream<'static, Result<api::Lease, Status>>;

    async fn watch_lease(&self, request: Request<api::WatchLeaseRequest>) -> Answer<Self::WatchLeaseStream> {
        self.record("WatchLease", &request, "Client")?;
        let script = self.0.watches.lock().unwrap().pop_front();
        let script = script.ok_or_else(|| Status::unimplemented("as old services say it"))?;
        Ok(Response::new(futures::stream::iter(script).boxed()))
    }
    async fn create_lease(&self, request: Request<api::CreateLeaseRequest>) -> Answer<api::Lease> {
        self.record("CreateLease", &request, "Client")?;
        self.0.assigned.send_replace(Some(LEASE.to_owned()));
        Ok(Response::new(self.lease()))
    }
    async fn get_lease(&self, request: Request<api::GetLeaseRequest>) -> Answer<api::Lease> {
        self.record("GetLease", &request, "Client")?;
        assert_eq!(request.get_ref().name, format!("namespaces/lab/leases/{LEASE}"));
        Ok(Response::new(self.lease()))
    }
    async fn delete_lease(&self, request: Request<api::DeleteLeaseRequest>) -> Answer<()> {
        self.record("DeleteLease", &request, "Client")?;
        self.0.assigned.send_replace(None);
        *self.0.listener.lock().unwrap() = None;
        Ok(Response::new(()))
    }
    async fn list_leases(&self, request: Request<api::ListLeasesRequest>) -> Answer<api::ListLeasesResponse> {
        // Two pages of one lease each.
        let next_page_token = if request.get_ref().page_token.is_empty() { "2" } else { "" }.to_owned();
        Ok(Response::new(api::ListLeasesResponse { leases: vec![self.lease()], next_page_token }))
    }
    async fn update_lease(&self, request: Request<api::UpdateLeaseRequest>) -> Answer<api::Lease> {
        let api::UpdateLeaseRequest { lease, update_mask } = request.into_inner();
        assert_eq!(update_mask.unwrap().paths, ["duration"]);
        Ok(Response::new(api::Lease { duration: lease.unwrap().duration, ..self.lease() }))
    }
    async fn get_exporter(&self, _: Request<api::GetExporterRequest>) -> Answer<api::Exporter> {
        Err(Status::not_found("no such exporter"))
    }
    async fn list_exporters(&self, _: Request<api::ListExportersRequest>) -> Answer<api::ListExportersResponse> {
        Err(Status::unimplemented(""))
    }
    async fn explain_lease(&self, _: Request<api::ExplainLeaseRequest>) -> Answer<api::ExplainLeaseResponse> {
        Err(Status::unimplemented(""))
    }
    async fn get_usage(&self, _: Request<api::GetUsageRequest>) -> Answer<api::GetUsageResponse> {
        Err(Status::unimplemented(""))
    }
    async fn create_lease_group(&self, _: Request<api::CreateLeaseGroupRequest>) -> Answer<api::LeaseGroup> {
        Err(Status::unimplemented(""))
    }
    async fn delete_lease_group(&self, _: Request<api::DeleteLeaseGroupRequest>) -> Answer<()> {
        Err(Status::unimplemented(""))
    }
    async fn rotate_token(&self, _: Request<api::RotateTokenRequest>) -> Answer<api::RotateTokenResponse> {
        Err(Status::unimplemented(""))
    }
}

/// A half that leaves is no longer waited with.
struct Gone<'a>(&'a State, String);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.halves.lock().unwrap().remove(&self.1);
    }
}

fn pipe(from: Streaming<StreamRequest>) -> Frames {
    from.map(|frame| frame.map(|f| StreamResponse { payload: f.payload, frame_type: f.frame_type }))
        .take_while(|frame| futures::future::ready(frame.is_ok()))
        .boxed()
}

#[tonic::async_trait]
impl RouterService for Fake {
    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Answer<Frames> {
        let ticket = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        assert!(ticket.starts_with("Bearer "));
        let mine = request.into_inner();
        let waiting = self.0.halves.lock().unwrap().remove(&ticket);
        match waiting {
            Some((other, tell)) => {
                let _ = tell.send(mine);
                Ok(Response::new(pipe(other)))
            }
            None => {
                let (tell, partner) = oneshot::channel();
                self.0.halves.lock().unwrap().insert(ticket.clone(), (mine, tell));
                let _gone = Gone(&self.0, ticket);
                let partner = partner.await.map_err(|_| Status::aborted("gone"))?;
                Ok(Response::new(pipe(partner)))
            }
        }
    }
}
