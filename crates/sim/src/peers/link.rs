//! Calls of peers, with the limits of time that peers give them.

use std::{str::FromStr as _, time::Duration};

use jumpstarter_model::{GoDuration, Timestamp};
use jumpstarter_protocol::{
    client::v1::{
        CreateLeaseGroupRequest, CreateLeaseRequest, DeleteLeaseGroupRequest, DeleteLeaseRequest, GetLeaseRequest,
        Lease, ListLeasesRequest, UpdateLeaseRequest, client_service_client::ClientServiceClient,
    },
    v1::{
        DialRequest, DialResponse, ExporterStatus, ListenRequest, ListenResponse, RegisterRequest, ReleaseLeaseRequest,
        ReportStatusRequest, StatusRequest, StatusResponse, UnregisterRequest,
        controller_service_client::ControllerServiceClient,
    },
};
use tokio::time::timeout;
use tonic::{Request, Status, Streaming, metadata::MetadataMap};

use crate::{network::Wire, server::NAMESPACE};

/// Limit of one call.
const CALL: Duration = Duration::from_secs(30);
/// Limit of a look at a lease, which the service holds back for a while.
const LOOK: Duration = Duration::from_secs(45);

/// A peer's stubs.
#[derive(Clone)]
pub(crate) struct Link {
    metadata: MetadataMap,
    controller: ControllerServiceClient<Wire>,
    client: ClientServiceClient<Wire>,
    /// Names the exporter's process; empty for those that do not tell.
    process: String,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) id: String,
    pub(crate) selector: String,
    pub(crate) pinned: Option<String>,
    pub(crate) duration: Duration,
    pub(crate) begin: Option<Timestamp>,
    pub(crate) requeue: bool,
}

/// What a client asks for all at once: leases called `ID-0`, `ID-1` and so on.
#[derive(Clone, Debug)]
pub(crate) struct GroupWish {
    pub(crate) id: String,
    pub(crate) leases: Vec<Wish>,
    /// Keys of labels that all exporters are to have in common.
    pub(crate) same: Vec<String>,
}

impl Wish {
    fn to_proto(&self) -> Lease {
        Lease {
            selector: self.selector.clone(),
            exporter_name: self.pinned.clone(),
            duration: Some(proto_duration(self.duration)),
            begin_time: self.begin.map(proto_time),
            requeue: self.requeue,
            ..Lease::default()
        }
    }
}

pub(crate) fn path(lease: &str) -> String {
    format!("namespaces/{NAMESPACE}/leases/{lease}")
}

pub(crate) fn proto_time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

fn proto_duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos: 0 }
}

/// The model's form of a length.
pub(crate) fn go_duration(span: Duration) -> GoDuration {
    GoDuration::from_str(&format!("{}s", span.as_secs())).unwrap_or(GoDuration::ZERO)
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

impl Link {
    /// Stubs of a peer that speaks for an object of this kind (`Client`, `Exporter`) and name.
    pub(crate) fn new(wire: Wire, kind: &str, name: &str, token: &str) -> Self {
        let mut metadata = MetadataMap::new();
        let bearer = format!("Bearer {token}");
        let pairs = [
            ("jumpstarter-kind", kind),
            ("jumpstarter-namespace", NAMESPACE),
            ("jumpstarter-name", name),
            ("authorization", &bearer),
        ];
        for (key, value) in pairs {
            if let Ok(value) = value.parse() {
                metadata.insert(key, value);
            }
        }
        let controller = ControllerServiceClient::new(wire.clone());
        Self { metadata, controller, client: ClientServiceClient::new(wire), process: String::new() }
    }

    /// The same for an exporter's process that tells its name.
    pub(crate) fn of_process(self, process: String) -> Self {
        Self { process, ..self }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    pub(crate) async fn register(&self, mut request: RegisterRequest) -> Result<(), Status> {
        request.process.clone_from(&self.process);
        within(CALL, self.controller.clone().register(self.request(request))).await.map(drop)
    }

    pub(crate) async fn unregister(&self) -> Result<(), Status> {
        let request = self.request(UnregisterRequest { reason: "stopped".to_owned(), process: self.process.clone() });
        within(CALL, self.controller.clone().unregister(request)).await.map(drop)
    }

    /// `heard`: the revision of the last message of the Status stream that counts, as newer exporters tell.
    pub(crate) async fn report(
        &self,
        status: ExporterStatus,
        message: &str,
        heard: Option<&str>,
    ) -> Result<(), Status> {
        let (message, revision) = (Some(message.to_owned()), heard.map(str::to_owned));
        let process = self.process.clone();
        let request = ReportStatusRequest { status: status.into(), message, release_lease: None, revision, process };
        within(CALL, self.controller.clone().report_status(self.request(request))).await.map(drop)
    }

    pub(crate) async fn give_back(&self, lease: &str) -> Result<(), Status> {
        let request = self.request(ReleaseLeaseRequest { name: lease.to_owned() });
        within(CALL, self.controller.clone().release_lease(request)).await.map(drop)
    }

    pub(crate) async fn status(&self) -> Result<Streaming<StatusResponse>, Status> {
        within(CALL, self.controller.clone().status(self.request(StatusRequest {}))).await
    }

    pub(crate) async fn listen(&self, lease: &str) -> Result<Streaming<ListenResponse>, Status> {
        let request = self.request(ListenRequest { lease_name: lease.to_owned(), ..ListenRequest::default() });
        self.controller.clone().listen(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn dial(&self, lease: &str) -> Result<DialResponse, Status> {
        let request = self.request(DialRequest { lease_name: lease.to_owned(), ..DialRequest::default() });
        within(CALL, self.controller.clone().dial(request)).await
    }

    pub(crate) async fn create(&self, wish: &Wish) -> Result<Lease, Status> {
        let parent = format!("namespaces/{NAMESPACE}");
        let request = CreateLeaseRequest { parent, lease_id: wish.id.clone(), lease: Some(wish.to_proto()) };
        within(CALL, self.client.clone().create_lease(self.request(request))).await
    }

    pub(crate) async fn create_group(&self, wish: &GroupWish) -> Result<(), Status> {
        let request = CreateLeaseGroupRequest {
            parent: format!("namespaces/{NAMESPACE}"),
            group_id: wish.id.clone(),
            leases: wish.leases.iter().map(Wish::to_proto).collect(),
            same: wish.same.clone(),
        };
        within(LOOK, self.client.clone().create_lease_group(self.request(request))).await.map(drop)
    }

    /// Gives back all leases of a group that have not ended.
    pub(crate) async fn release_group(&self, group: &str) -> Result<(), Status> {
        let parent = format!("namespaces/{NAMESPACE}");
        let request = DeleteLeaseGroupRequest { parent, group: group.to_owned() };
        within(LOOK, self.client.clone().delete_lease_group(self.request(request))).await.map(drop)
    }

    pub(crate) async fn look(&self, lease: &str) -> Result<Lease, Status> {
        let request = self.request(GetLeaseRequest { name: path(lease) });
        within(LOOK, self.client.clone().get_lease(request)).await
    }

    pub(crate) async fn lengthen(&self, lease: &str, to: Duration) -> Result<Lease, Status> {
        let update_mask = Some(prost_types::FieldMask { paths: vec!["duration".to_owned()] });
        let lease = Lease { name: path(lease), duration: Some(proto_duration(to)), ..Lease::default() };
        let request = UpdateLeaseRequest { lease: Some(lease), update_mask };
        within(CALL, self.client.clone().update_lease(self.request(request))).await
    }

    pub(crate) async fn release(&self, lease: &str) -> Result<(), Status> {
        let request = DeleteLeaseRequest { name: path(lease) };
        within(CALL, self.client.clone().delete_lease(self.request(request))).await.map(drop)
    }

    /// Names of the caller's leases that have not ended, on the first page.
    pub(crate) async fn list(&self, only: &str) -> Result<Vec<String>, Status> {
        let parent = format!("namespaces/{NAMESPACE}");
        let request = ListLeasesRequest { parent, ..ListLeasesRequest::default() };
        let list = within(CALL, self.client.clone().list_leases(self.request(request))).await?;
        let own =
            list.leases.into_iter().filter(|lease| lease.client.as_deref().is_some_and(|name| name.ends_with(only)));
        Ok(own.filter_map(|lease| lease.name.rsplit('/').next().map(str::to_owned)).collect())
    }
}
