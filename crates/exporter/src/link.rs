//! The exporter's calls to the controller.
use std::{sync::Arc, time::Duration};

use jumpstarter_config::{ExporterConfig, Secret};
use jumpstarter_protocol::v1::{
    DirectListener, ExporterStatus, ListenRequest, ListenResponse, RegisterRequest, ReleaseLeaseRequest,
    ReportStatusRequest, StatusRequest, StatusResponse, UnregisterRequest,
    controller_service_client::ControllerServiceClient,
};
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::ExporterError;

/// Limit of one unary call.
const CALL: Duration = Duration::from_secs(30);
/// Limit for the first message of a stream, which the controller sends at once.
pub(crate) const OPEN: Duration = Duration::from_secs(30);

/// Who is calling, added to every call.
#[derive(Clone)]
pub(crate) struct Identity {
    namespace: MetadataValue<Ascii>,
    name: MetadataValue<Ascii>,
    authorization: MetadataValue<Ascii>,
}

impl Identity {
    pub(crate) fn new(config: &ExporterConfig, token: &Secret) -> Result<Self, ExporterError> {
        let ascii = |what, text: &str| text.parse().map_err(|_| ExporterError::Unsendable(what));
        let mut authorization: MetadataValue<Ascii> = ascii("token", &format!("Bearer {}", token.expose()))?;
        authorization.set_sensitive(true);
        Ok(Self {
            namespace: ascii("metadata.namespace", config.metadata.namespace.as_deref().unwrap_or_default())?,
            name: ascii("metadata.name", &config.metadata.name)?,
            authorization,
        })
    }
}

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("jumpstarter-kind", MetadataValue::from_static("Exporter"));
        metadata.insert("jumpstarter-namespace", self.namespace.clone());
        metadata.insert("jumpstarter-name", self.name.clone());
        metadata.insert("authorization", self.authorization.clone());
        Ok(request)
    }
}

/// One exporter's view of the controller. Cheap to clone; many may share one channel.
#[derive(Clone)]
pub struct ControllerLink {
    client: ControllerServiceClient<InterceptedService<Channel, Identity>>,
    /// Names this process in what it reports.
    process: Arc<str>,
}

impl ControllerLink {
    /// Calls over `channel` as the exporter of `config`.
    pub fn new(channel: Channel, config: &ExporterConfig) -> Result<Self, ExporterError> {
        let token = config.token.as_ref().ok_or(ExporterError::NotConfigured)?;
        Ok(Self::with_identity(channel, Identity::new(config, token)?))
    }

    pub(crate) fn with_identity(channel: Channel, identity: Identity) -> Self {
        Self { client: ControllerServiceClient::with_interceptor(channel, identity), process: Arc::from("") }
    }

    /// The same, for the process that registered under this name.
    #[must_use]
    pub fn of_process(self, name: &str) -> Self {
        Self { process: Arc::from(name), ..self }
    }

    /// Announces labels and drivers.
    pub async fn register(&self, request: RegisterRequest) -> Result<(), Status> {
        self.client.clone().register(limited(request)).await.map(drop)
    }

    /// Leaves in good order.
    pub async fn unregister(&self, reason: &str) -> Result<(), Status> {
        self.client
            .clone()
            .unregister(limited(UnregisterRequest { reason: reason.to_owned(), process: self.process.to_string() }))
            .await
            .map(drop)
    }

    /// Tells what the exporter is doing, and the revision of the last message of the Status stream that it knew when
    /// it came to be so: empty before the first.
    pub async fn report(&self, status: ExporterStatus, message: &str, revision: &str) -> Result<(), Status> {
        let request = ReportStatusRequest {
            status: status.into(),
            message: Some(message.to_owned()),
            release_lease: None,
            revision: Some(revision.to_owned()),
            process: self.process.to_string(),
        };
        self.client.clone().report_status(limited(request)).await.map(drop)
    }

    /// Gives a lease back, by the old way where the new one is not offered.
    pub async fn release(&self, lease: &str, status: ExporterStatus, message: &str) -> Result<(), Status> {
        use tonic::Code::{InvalidArgument, PermissionDenied, Unauthenticated, Unimplemented};
        let request = ReleaseLeaseRequest { name: lease.to_owned() };
        match self.client.clone().release_lease(limited(request)).await {
            Ok(_) => Ok(()),
            Err(err) if matches!(err.code(), PermissionDenied | InvalidArgument | Unauthenticated | Unimplemented) => {
                let request = ReportStatusRequest {
                    status: status.into(),
                    message: Some(message.to_owned()),
                    release_lease: Some(true),
                    revision: None,
                    process: self.process.to_string(),
                };
                self.client.clone().report_status(limited(request)).await.map(drop)
            }
            Err(err) => Err(err),
        }
    }

    /// Opens the stream of assignments. Open means alive.
    pub async fn status(&self) -> Result<Streaming<StatusResponse>, Status> {
        within(self.client.clone().status(StatusRequest {})).await
    }

    /// Opens the stream of dials of a lease.
    /// `direct` says where this exporter takes clients without a router.
    pub async fn listen(
        &self,
        lease: &str,
        direct: Option<DirectListener>,
    ) -> Result<Streaming<ListenResponse>, Status> {
        // No limit here: headers may come only with the first dial.
        let request = ListenRequest { lease_name: lease.to_owned(), direct };
        self.client.clone().listen(request).await.map(tonic::Response::into_inner)
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

async fn within<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(OPEN, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the controller did not answer in time")),
    }
}
