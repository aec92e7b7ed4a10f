//! The wire as seen by an exporter that does exactly what a test tells it.

use std::time::Duration;

use futures::StreamExt as _;
use jumpstarter_protocol::v1::{
    DriverInstanceReport, ExporterStatus, ListenRequest, ListenResponse, RegisterRequest, ReleaseLeaseRequest,
    ReportStatusRequest, StatusRequest, StatusResponse,
};
use jumpstarter_testkit::{
    Lab, MINUTE, eventually,
    grpc::{Grpc, wanted},
};
use tonic::{Code, Streaming};

/// An exporter without drivers, moved by hand.
pub(crate) struct ScriptedExporter {
    grpc: Grpc,
    status: Option<Streaming<StatusResponse>>,
    listen: Option<Streaming<ListenResponse>>,
}

impl ScriptedExporter {
    /// Registered, available, with an open Status stream whose first message has been read.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, name: &str) -> Self {
        let config = lab.exporter_config(name, &[("name".to_owned(), name.to_owned())]);
        let mut exporter = Self { grpc: Grpc::from_exporter_config(&config), status: None, listen: None };
        let root = DriverInstanceReport {
            uuid: uuid::Uuid::new_v4().to_string(),
            labels: [(
                "jumpstarter.dev/client".to_owned(),
                "jumpstarter_driver_composite.client.CompositeClient".to_owned(),
            )]
            .into(),
            ..Default::default()
        };
        let register = RegisterRequest { reports: vec![root], ..Default::default() };
        let grpc = &exporter.grpc;
        let registered = grpc.call(grpc.controller().register(grpc.request(register))).unwrap();
        assert!(!registered.uuid.is_empty());
        exporter.report(ExporterStatus::Available);
        assert!(!exporter.open_status().leased);
        exporter
    }

    pub(crate) fn grpc(&self) -> &Grpc {
        &self.grpc
    }

    #[track_caller]
    fn report(&self, status: ExporterStatus) {
        let request = ReportStatusRequest { status: status.into(), ..Default::default() };
        self.grpc.call(self.grpc.controller().report_status(self.grpc.request(request))).unwrap();
    }

    #[track_caller]
    pub(crate) fn report_ready(&self) {
        self.report(ExporterStatus::LeaseReady);
    }

    /// (Re)opens the Status stream, and reads what the service says at once.
    #[track_caller]
    fn open_status(&mut self) -> StatusResponse {
        let call = self.grpc.call(self.grpc.controller().status(self.grpc.request(StatusRequest {})));
        self.status = Some(call.unwrap());
        self.next_status()
    }

    #[track_caller]
    fn next_status(&mut self) -> StatusResponse {
        let stream = self.status.as_mut().unwrap();
        let message = self.grpc.block_on(async { tokio::time::timeout(MINUTE, stream.message()).await });
        message.expect("a status within a minute").unwrap().expect("the stream never ends in order")
    }

    /// Waits to be told of `lease`.
    #[track_caller]
    pub(crate) fn await_lease(&mut self, lease: &str) {
        loop {
            let status = self.next_status();
            if status.leased {
                assert_eq!(status.lease_name(), lease);
                assert!(!status.client_name().is_empty(), "a lease always has its client's name");
                return;
            }
        }
    }

    #[track_caller]
    pub(crate) fn listen(&mut self, lease: &str) {
        let request = ListenRequest { lease_name: lease.to_owned(), ..ListenRequest::default() };
        let call = self.grpc.call(self.grpc.controller().listen(self.grpc.request(request)));
        self.listen = Some(call.unwrap());
    }

    /// The ticket of the next dialling client.
    #[track_caller]
    pub(crate) fn ticket(&mut self) -> ListenResponse {
        let stream = self.listen.as_mut().unwrap();
        let message = self.grpc.block_on(async { tokio::time::timeout(MINUTE, stream.message()).await });
        message.expect("a ticket within a minute").unwrap().expect("the stream never ends in order")
    }

    #[track_caller]
    fn release(&self, lease: &str) -> Result<(), tonic::Status> {
        let request = ReleaseLeaseRequest { name: lease.to_owned() };
        self.grpc.call(self.grpc.controller().release_lease(self.grpc.request(request))).map(|_| ())
    }
}

#[test]
fn between_two_leases_an_exporter_always_hears_that_it_is_free() {
    let lab = Lab::start();
    let mut dut = ScriptedExporter::start(&lab, "dut");
    let (alice, bob) = (lab.grpc_client("alice"), lab.grpc_client("bob"));
    alice.create("first", wanted("name=dut", MINUTE)).unwrap();
    bob.create("second", wanted("name=dut", MINUTE)).unwrap();
    dut.await_lease("first");
    dut.report_ready();

    alice.delete("first").unwrap();
    let between = dut.next_status();
    assert!(!between.leased, "{between:?}");
    // Only a confirmed tear-down makes it eligible again.
    assert_eq!(bob.lease("second").unwrap().exporter, None, "given away before its tear-down");
    dut.report(ExporterStatus::Available);
    dut.await_lease("second");
    assert_eq!(bob.lease("second").unwrap().exporter, Some(bob.path("exporters", "dut")));
    dut.report_ready();

    // Released by the exporter itself: no further word of that lease, whatever else happens.
    dut.release("second").unwrap();
    let freed = dut.next_status();
    assert!(!freed.leased, "{freed:?}");
    dut.report(ExporterStatus::Available);
    assert!(!dut.open_status().leased, "the lease was offered again");
    assert_eq!(dut.release("second").map_err(|status| status.code()), Ok(()), "releasing twice is harmless");
    assert_eq!(dut.release("nothing").map_err(|status| status.code()), Err(Code::NotFound));
}

#[test]
fn dial_and_listen_meet_in_any_order() {
    let lab = Lab::start();
    let mut dut = ScriptedExporter::start(&lab, "dut");
    let alice = lab.grpc_client("alice");
    alice.create("mine", wanted("name=dut", MINUTE)).unwrap();
    dut.await_lease("mine");
    dut.report_ready();

    // Dial first: it waits for the listener.
    let (alice_ref, dut_ref) = (&alice, &mut dut);
    std::thread::scope(|scope| {
        let dialling = scope.spawn(move || alice_ref.dial("mine"));
        dut_ref.listen("mine");
        dut_ref.ticket();
        dialling.join().unwrap().unwrap();
    });

    // A ticket that was on its way when the listener broke off is offered to the next one.
    dut.listen = None;
    let (alice_ref, dut_ref) = (&alice, &mut dut);
    std::thread::scope(|scope| {
        let dialling = scope.spawn(move || alice_ref.dial("mine"));
        std::thread::sleep(Duration::from_millis(300));
        dut_ref.listen("mine");
        dut_ref.ticket();
        dialling.join().unwrap().unwrap();
    });

    // Nobody comes: the answer is in time for a released client, and tells it to try again.
    dut.listen = None;
    eventually("a refusal", MINUTE, || {
        let begun = std::time::Instant::now();
        let answer = alice.dial("mine");
        assert!(begun.elapsed() < Duration::from_secs(16), "answered after {:?}", begun.elapsed());
        // A dial may still find the old stream open, and its ticket is then lost with it.
        let status = answer.err()?;
        let retried = status.code() == Code::Unavailable
            || (status.code() == Code::FailedPrecondition && status.message().contains("not ready"));
        assert!(retried, "{status:?}");
        Some(())
    });
    assert_eq!(
        dut.grpc.call(dut.grpc.controller().listen(dut.grpc.request(ListenRequest::default()))).unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[test]
fn streams_never_end_in_order_when_the_service_stops() {
    let mut lab = Lab::start();
    let mut dut = ScriptedExporter::start(&lab, "dut");
    lab.service.stop();
    let stream = dut.status.take().unwrap();
    let rest = dut.grpc.block_on(async { tokio::time::timeout(MINUTE, stream.collect::<Vec<_>>()).await }).unwrap();
    let last = rest.last().expect("an end with a reason").as_ref();
    assert_eq!(last.unwrap_err().code(), Code::Unavailable, "{last:?}");
    assert!(!last.unwrap_err().message().contains("expired"));
}
