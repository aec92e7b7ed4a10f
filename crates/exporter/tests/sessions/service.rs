//! The service: controller of one exporter and one lease at a time, and a router that pairs two halves.
use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use jumpstarter_protocol::v1::{
    self as pb, ExporterStatus, StreamRequest, StreamResponse,
    controller_service_server::{ControllerService, ControllerServiceServer},
    router_service_server::{RouterService, RouterServiceServer},
};
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

use super::host::Host;

type Answer<T> = Result<Response<T>, Status>;
type Frames = BoxStream<'static, Result<StreamResponse, Status>>;
type Half = (Streaming<StreamRequest>, oneshot::Sender<Streaming<StreamRequest>>);

/// The newest report.
pub(crate) type Report = Option<(ExporterStatus, String)>;

#[derive(Clone)]
pub(crate) struct Service(Arc<State>);

pub(crate) struct State {
    host: Host,
    lease: watch::Sender<Option<String>>,
    leases: Mutex<u32>,
    report: watch::Sender<Report>,
    unregistered: watch::Sender<u32>,
    /// Changing it ends every stream of the exporter, as a restart would.
    epoch: watch::Sender<u32>,
    listener: Mutex<Option<(String, mpsc::Sender<pb::ListenResponse>)>>,
    halves: Mutex<HashMap<String, Half>>,
    tickets: Mutex<u32>,
    /// Calls that are refused: counted down; whether they are taken in all the same.
    lost: Mutex<(u32, bool)>,
}

impl Service {
    pub(crate) fn start(
        host: Host,
        incoming: mpsc::Receiver<io::Result<DuplexStream>>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let service = Self(Arc::new(State {
            host,
            lease: watch::Sender::new(None),
            leases: Mutex::default(),
            report: watch::Sender::new(None),
            unregistered: watch::Sender::new(0),
            epoch: watch::Sender::new(0),
            listener: Mutex::default(),
            halves: Mutex::default(),
            tickets: Mutex::default(),
            lost: Mutex::default(),
        }));
        let server = tonic::transport::Server::builder()
            .add_service(ControllerServiceServer::new(service.clone()))
            .add_service(RouterServiceServer::new(service.clone()))
            .serve_with_incoming(ReceiverStream::new(incoming));
        tasks.spawn(async move { server.await.unwrap() });
        service
    }

    pub(crate) fn reports(&self) -> watch::Receiver<Report> {
        self.0.report.subscribe()
    }

    pub(crate) fn unregistered(&self) -> u32 {
        *self.0.unregistered.borrow()
    }

    /// The lease of now.
    pub(crate) fn lease(&self) -> Option<String> {
        self.0.lease.borrow().clone()
    }

    /// Gives the exporter to somebody when it is free.
    pub(crate) fn grant(&self) -> Option<String> {
        let available = matches!(*self.0.report.borrow(), Some((ExporterStatus::Available, _)));
        if !available || self.lease().is_some() {
            return None;
        }
        let name = {
            let mut leases = self.0.leases.lock().unwrap();
            *leases += 1;
            format!("lease-{leases}")
        };
        self.0.host.tell(format!("{name} granted"));
        self.0.lease.send_replace(Some(name.clone()));
        Some(name)
    }

    /// The lease is deleted or expires.
    pub(crate) fn end_lease(&self) {
        if let Some(lease) = self.0.lease.send_replace(None) {
            self.0.host.tell(format!("{lease} ends"));
        }
        *self.0.listener.lock().unwrap() = None;
    }

    /// All streams end, and what was only in memory is forgotten.
    pub(crate) fn restart(&self) {
        self.0.epoch.send_modify(|epoch| *epoch += 1);
        *self.0.listener.lock().unwrap() = None;
        self.0.halves.lock().unwrap().clear();
    }

    /// The next so many reports are answered with an error; `taken_in` all the same, or not.
    pub(crate) fn lose_reports(&self, count: u32, taken_in: bool) {
        *self.0.lost.lock().unwrap() = (count, taken_in);
    }

    /// A client's Dial: the ticket for its half.
    pub(crate) async fn dial(&self, lease: &str) -> Option<String> {
        let listener = self.0.listener.lock().unwrap().clone();
        let (_, listener) = listener.filter(|(listens, _)| listens == lease)?;
        let ticket = {
            let mut tickets = self.0.tickets.lock().unwrap();
            *tickets += 1;
            tickets.to_string()
        };
        let message = pb::ListenResponse {
            router_endpoint: "lab.example".to_owned(),
            router_token: ticket.clone(),
            ..pb::ListenResponse::default()
        };
        listener.send(message).await.ok()?;
        Some(ticket)
    }

    /// Whether this call is answered with an error, and whether it counts all the same.
    fn fate(&self) -> (bool, bool) {
        let mut lost = self.0.lost.lock().unwrap();
        if lost.0 == 0 {
            return (true, true);
        }
        lost.0 -= 1;
        (false, lost.1)
    }
}

fn until_restart<S: Stream + Send + 'static>(
    service: &Service,
    stream: S,
) -> impl Stream<Item = S::Item> + Send + use<S> {
    let mut epoch = service.0.epoch.subscribe();
    epoch.mark_unchanged();
    stream.take_until(async move { drop(epoch.changed().await) })
}

#[tonic::async_trait]
impl ControllerService for Service {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Answer<pb::RegisterResponse> {
        assert!(!request.get_ref().reports.is_empty());
        Ok(Response::new(pb::RegisterResponse { uuid: String::new() }))
    }

    async fn unregister(&self, _: Request<pb::UnregisterRequest>) -> Answer<pb::UnregisterResponse> {
        self.0.unregistered.send_modify(|times| *times += 1);
        Ok(Response::new(pb::UnregisterResponse {}))
    }

    async fn report_status(&self, request: Request<pb::ReportStatusRequest>) -> Answer<pb::ReportStatusResponse> {
        let request = request.into_inner();
        let (answered, taken_in) = self.fate();
        if taken_in {
            let report = (request.status(), request.message().to_owned());
            self.0.host.tell(format!("reports {report:?}"));
            self.0.report.send_replace(Some(report));
            if request.release_lease() {
                self.end_lease();
            }
        }
        if answered { Ok(Response::new(pb::ReportStatusResponse {})) } else { Err(Status::unavailable("lost")) }
    }

    type ListenStream = BoxStream<'static, Result<pb::ListenResponse, Status>>;

    async fn listen(&self, request: Request<pb::ListenRequest>) -> Answer<Self::ListenStream> {
        let lease = request.into_inner().lease_name;
        if self.lease().as_ref() != Some(&lease) {
            return Err(Status::failed_precondition("that lease is over"));
        }
        let (sender, dials) = mpsc::channel(8);
        *self.0.listener.lock().unwrap() = Some((lease, sender));
        Ok(Response::new(until_restart(self, ReceiverStream::new(dials).map(Ok)).boxed()))
    }

    type StatusStream = Pin<Box<dyn Stream<Item = Result<pb::StatusResponse, Status>> + Send>>;

    async fn status(&self, _: Request<pb::StatusRequest>) -> Answer<Self::StatusStream> {
        let changes = WatchStream::new(self.0.lease.subscribe()).map(|lease| {
            Ok(pb::StatusResponse {
                leased: lease.is_some(),
                client_name: lease.as_ref().map(|_| "alice".to_owned()),
                lease_name: lease,
                ..pb::StatusResponse::default()
            })
        });
        Ok(Response::new(until_restart(self, changes).boxed()))
    }

    async fn release_lease(&self, request: Request<pb::ReleaseLeaseRequest>) -> Answer<pb::ReleaseLeaseResponse> {
        if self.lease() == Some(request.into_inner().name) {
            self.end_lease();
        }
        Ok(Response::new(pb::ReleaseLeaseResponse {}))
    }

    async fn dial(&self, _: Request<pb::DialRequest>) -> Answer<pb::DialResponse> {
        Err(Status::unimplemented(""))
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

fn pipe(from: Streaming<StreamRequest>) -> Frames {
    from.map(|frame| frame.map(|f| StreamResponse { payload: f.payload, frame_type: f.frame_type }))
        .take_while(|frame| futures::future::ready(frame.is_ok()))
        .boxed()
}

#[tonic::async_trait]
impl RouterService for Service {
    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Answer<Frames> {
        let ticket = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        let mine = request.into_inner();
        let waiting = self.0.halves.lock().unwrap().remove(&ticket);
        if let Some((other, tell)) = waiting {
            let _ = tell.send(mine);
            return Ok(Response::new(pipe(other)));
        }
        let (tell, partner) = oneshot::channel();
        self.0.halves.lock().unwrap().insert(ticket, (mine, tell));
        let partner = partner.await.map_err(|_| Status::aborted("gone"))?;
        Ok(Response::new(pipe(partner)))
    }
}
