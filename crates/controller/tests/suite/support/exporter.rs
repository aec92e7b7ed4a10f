//! An exporter as the wire sees it.

use jumpstarter_protocol::v1::{
    DirectListener, DriverInstanceReport, ExporterStatus, ListenRequest, ListenResponse, RegisterRequest,
    RegisterResponse, ReleaseLeaseRequest, ReportStatusRequest, StatusRequest, StatusResponse, UnregisterRequest,
    controller_service_client::ControllerServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{Identity, LIMIT, Lab, eventually, soon};

#[derive(Clone)]
pub(crate) struct FakeExporter {
    pub(crate) identity: Identity,
    pub(crate) stub: ControllerServiceClient<Channel>,
}

/// The answer, unless it is to be asked for again.
fn taken_in<T>(answer: Result<T, Status>) -> Option<T> {
    match answer {
        Err(status) if status.code() == Code::Unavailable => None,
        answer => Some(answer.unwrap()),
    }
}

impl FakeExporter {
    pub(crate) fn new(lab: &Lab, identity: Identity) -> Self {
        Self { identity, stub: ControllerServiceClient::new(lab.channel()) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.identity.name
    }

    /// Registers one driver and no labels; again, as exporters do, where the store is in trouble.
    pub(crate) async fn register(&self) -> RegisterResponse {
        eventually("the exporter is registered", async || taken_in(self.try_register(&[]).await)).await
    }

    pub(crate) async fn try_register(&self, labels: &[(&str, &str)]) -> Result<RegisterResponse, Status> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let root = DriverInstanceReport { uuid: "root".to_owned(), ..DriverInstanceReport::default() };
        let request = RegisterRequest { labels, reports: vec![root], ..Default::default() };
        let answer = soon("Register", self.stub.clone().register(self.identity.request(request))).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Reports; again, as exporters do, where the store is in trouble.
    pub(crate) async fn report(&self, status: ExporterStatus) {
        eventually("the report is taken in", async || taken_in(self.try_report(status, None, None).await)).await;
    }

    pub(crate) async fn try_report(
        &self,
        status: ExporterStatus,
        message: Option<&str>,
        release_lease: Option<bool>,
    ) -> Result<(), Status> {
        let message = message.map(str::to_owned);
        let request = ReportStatusRequest { status: status.into(), message, release_lease, ..Default::default() };
        soon("ReportStatus", self.stub.clone().report_status(self.identity.request(request))).await.map(drop)
    }

    pub(crate) async fn unregister(&self, reason: &str) {
        let request = UnregisterRequest { reason: reason.to_owned(), ..Default::default() };
        soon("Unregister", self.stub.clone().unregister(self.identity.request(request))).await.unwrap();
    }

    pub(crate) async fn release(&self, lease: &str) -> Result<(), Status> {
        let request = ReleaseLeaseRequest { name: lease.to_owned() };
        soon("ReleaseLease", self.stub.clone().release_lease(self.identity.request(request))).await.map(drop)
    }

    pub(crate) async fn try_status(&self) -> Result<StatusFeed, Status> {
        let call = self.stub.clone().status(self.identity.request(StatusRequest {})).await?;
        Ok(StatusFeed { stream: call.into_inner(), last: None, released: Vec::new() })
    }

    /// Opens the Status stream.
    pub(crate) async fn status(&self) -> StatusFeed {
        soon("Status", self.try_status()).await.unwrap()
    }

    pub(crate) async fn try_listen(&self, lease: &str) -> Result<Streaming<ListenResponse>, Status> {
        let request = ListenRequest { lease_name: lease.to_owned(), ..ListenRequest::default() };
        let call = soon("Listen", self.stub.clone().listen(self.identity.request(request))).await?;
        Ok(call.into_inner())
    }

    /// Listens as an exporter that takes clients itself.
    pub(crate) async fn listen_with_door(&self, lease: &str, door: DirectListener) -> Streaming<ListenResponse> {
        let request = ListenRequest { lease_name: lease.to_owned(), direct: Some(door) };
        let call = soon("Listen", self.stub.clone().listen(self.identity.request(request))).await;
        call.unwrap().into_inner()
    }

    pub(crate) async fn listen(&self, lease: &str) -> Streaming<ListenResponse> {
        self.try_listen(lease).await.unwrap()
    }

    /// What an exporter does when it starts, up to the first message, which says that it is free.
    pub(crate) async fn come_online(&self) -> StatusFeed {
        self.register().await;
        self.report(ExporterStatus::Available).await;
        let mut feed = self.status().await;
        feed.free().await;
        feed
    }

    /// What an exporter without hooks does when it is told of a lease.
    pub(crate) async fn serve(&self, lease: &str) -> Streaming<ListenResponse> {
        let listening = self.listen(lease).await;
        self.report(ExporterStatus::LeaseReady).await;
        listening
    }
}

/// A Status stream that checks what must hold of every one.
pub(crate) struct StatusFeed {
    stream: Streaming<StatusResponse>,
    last: Option<StatusResponse>,
    /// Leases that must not be told again.
    pub(crate) released: Vec<String>,
}

impl StatusFeed {
    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<StatusResponse, Status> {
        let message = soon("a Status message", self.stream.message()).await?;
        let message = message.expect("a Status stream never ends with OK");
        self.check(&message);
        self.last = Some(message.clone());
        Ok(message)
    }

    fn check(&self, message: &StatusResponse) {
        if message.leased {
            let lease = message.lease_name.as_deref().unwrap_or_default();
            assert!(!lease.is_empty(), "leased without a lease");
            assert!(!message.client_name.as_deref().unwrap_or_default().is_empty(), "leased without a client");
            assert!(!self.released.iter().any(|released| released == lease), "lease {lease} was released before");
        }
        if let Some(last) = &self.last {
            assert_ne!(last, message, "only changes are told");
            assert!(
                !(last.leased && message.leased) || last.lease_name == message.lease_name,
                "from lease {:?} to {:?} without a free moment",
                last.lease_name,
                message.lease_name
            );
        }
    }

    /// The next message, which says that the exporter is free.
    pub(crate) async fn free(&mut self) {
        let message = self.next().await.unwrap();
        assert!(!message.leased, "free, not {message:?}");
    }

    /// The next message, which names a lease: its name and client.
    pub(crate) async fn leased(&mut self) -> (String, String) {
        let message = self.next().await.unwrap();
        assert!(message.leased, "leased, not free");
        (message.lease_name.unwrap(), message.client_name.unwrap())
    }

    /// The lease of the next message, nothing when it says that the exporter is free.
    pub(crate) async fn leased_or_free(&mut self) -> Option<String> {
        let message = self.next().await.unwrap();
        message.lease_name.filter(|_| message.leased)
    }

    /// The end of the stream, which must come.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// Checks that nothing more has been said. Only sound after something that would have come later.
    pub(crate) async fn quiet(&mut self) {
        let said = timeout(std::time::Duration::from_millis(30), self.stream.message()).await;
        assert!(said.is_err(), "nothing is said, not {said:?}");
    }
}

/// The next offer of a Listen stream.
pub(crate) async fn offer(stream: &mut Streaming<ListenResponse>) -> ListenResponse {
    let message = timeout(LIMIT, stream.message()).await.expect("an offer in time").unwrap();
    message.expect("a Listen stream never ends with OK")
}
