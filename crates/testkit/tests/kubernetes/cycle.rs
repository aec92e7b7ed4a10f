//! Leases that come and go on many exporters, whatever happens to the service, and what must hold afterwards.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jumpstarter_protocol::{
    client::v1::{
        CreateLeaseRequest, DeleteLeaseRequest, GetLeaseRequest, Lease, client_service_client::ClientServiceClient,
    },
    v1::{
        DriverInstanceReport, ExporterStatus, RegisterRequest, ReportStatusRequest, StatusRequest,
        controller_service_client::ControllerServiceClient,
    },
};
use jumpstarter_testkit::{
    Lab, MINUTE,
    fleet::recruit,
    grpc::{Identity, wanted},
};
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, transport::Channel};

/// Longest that one call may take before it is made again.
const CALL: Duration = Duration::from_secs(10);
/// Longest that all of it may take.
const LIMIT: Duration = Duration::from_mins(8);

/// So many exporters, and clients that lease them so many times, while `trouble` goes on.
#[track_caller]
pub(crate) fn leases_cycle(lab: &mut Lab, exporters: usize, leases: usize, trouble: impl FnOnce(&mut Lab, &Progress)) {
    let exporters = recruit(lab, "dut", exporters);
    let clients: Vec<Arc<Identity>> =
        (0..4).map(|number| Arc::new(Identity::from_config(&lab.client_config(&format!("client-{number}"))))).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let progress = Progress::default();
    let holders: Holders = Arc::default();
    let mut work = JoinSet::new();
    let _inside = runtime.enter();
    let mut fleet = JoinSet::new();
    for identity in exporters {
        fleet.spawn(serve(Arc::new(identity)));
    }
    for number in 0..leases {
        let (identity, holders, progress) =
            (Arc::clone(&clients[number % clients.len()]), Arc::clone(&holders), progress.clone());
        work.spawn(async move {
            let outcome = cycle(&identity, &format!("lease-{number}"), &holders).await;
            progress.one();
            outcome
        });
    }
    trouble(lab, &progress);
    let outcomes = runtime.block_on(async { tokio::time::timeout(LIMIT, work.join_all()).await });
    for outcome in outcomes.expect("all leases come to their end") {
        outcome.unwrap();
    }
    check(lab, leases);
}

/// How many leases have come to their end.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<usize>>);

impl Progress {
    fn one(&self) {
        *self.0.lock().unwrap() += 1;
    }

    pub(crate) fn done(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

/// Who holds what now, as clients see it.
type Holders = Arc<Mutex<HashMap<String, String>>>;

/// What the store must say in the end: nobody holds anything, and nobody ever held what another held.
#[track_caller]
fn check(lab: &Lab, leases: usize) {
    let cluster = lab.service.cluster().unwrap();
    let list = |kind: &str| -> Vec<Value> {
        let text = cluster.api().kubectl(&["get", kind, "-n", cluster.namespace(), "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    jumpstarter_testkit::eventually("free exporters", MINUTE, || {
        list("exporters").iter().all(|exporter| exporter["status"]["leaseRef"].is_null()).then_some(())
    });
    let ended = list("leases.jumpstarter.dev");
    assert_eq!(ended.len(), leases, "every lease that was acknowledged is there");
    let mut times: HashMap<String, Vec<(String, String, String)>> = HashMap::new();
    for lease in &ended {
        assert_eq!(lease["status"]["ended"], true, "{lease:#}");
        assert_eq!(lease["metadata"]["labels"]["jumpstarter.dev/lease-ended"], "true", "{lease:#}");
        let text = |field: &str| lease["status"][field].as_str().unwrap_or_default().to_owned();
        let exporter = lease["status"]["exporterRef"]["name"].as_str().unwrap_or_default().to_owned();
        assert!(!exporter.is_empty(), "a lease that was ready had an exporter: {lease:#}");
        let name = lease["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        times.entry(exporter).or_default().push((text("beginTime"), text("endTime"), name));
    }
    for (exporter, mut holds) in times {
        holds.sort();
        for pair in holds.windows(2) {
            // In whole seconds, so that one may begin in the second in which another ends.
            assert!(pair[0].1 <= pair[1].0, "{exporter} had two holders: {pair:?}");
        }
    }
}

async fn cycle(identity: &Identity, id: &str, holders: &Holders) -> Result<(), String> {
    let mut stub = ClientServiceClient::new(identity.connect());
    let name = format!("namespaces/{}/leases/{id}", identity.namespace);
    let create = || CreateLeaseRequest {
        parent: format!("namespaces/{}", identity.namespace),
        lease_id: id.to_owned(),
        lease: Some(wanted("name", MINUTE * 30)),
    };
    while let Err(status) = limited(stub.create_lease(request(identity, create()))).await {
        patience(id, "create", &status).await?;
    }
    let exporter = loop {
        match limited(stub.get_lease(request(identity, GetLeaseRequest { name: name.clone() }))).await {
            Ok(lease) => {
                if lease.effective_end_time.is_some() {
                    return Err(format!("{id} ended before it was released: {lease:?}"));
                }
                if is_ready(&lease) {
                    break lease.exporter.unwrap_or_default();
                }
            }
            Err(status) => patience(id, "look at", &status).await?,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let before = holders.lock().unwrap().insert(exporter.clone(), id.to_owned());
    if let Some(before) = before {
        return Err(format!("{exporter} is held by {before} and {id} at once"));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    holders.lock().unwrap().remove(&exporter);
    loop {
        match limited(stub.delete_lease(request(identity, DeleteLeaseRequest { name: name.clone() }))).await {
            Ok(()) => return Ok(()),
            // Said by an answer that was lost.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::NotFound) => return Ok(()),
            Err(status) => patience(id, "release", &status).await?,
        }
    }
}

fn is_ready(lease: &Lease) -> bool {
    lease.exporter.is_some()
        && lease.conditions.iter().any(|condition| {
            condition.r#type.as_deref() == Some("Ready") && condition.status.as_deref() == Some("True")
        })
}

/// What a service in trouble may say; anything else is an error.
async fn patience(id: &str, what: &str, status: &Status) -> Result<(), String> {
    let trouble =
        [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::Internal, Code::Aborted];
    if !trouble.contains(&status.code()) {
        return Err(format!("{what} {id}: {status:?}"));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// A request that the server drops too when the caller gives up.
fn request<T>(identity: &Identity, message: T) -> Request<T> {
    let mut request = identity.request(message);
    request.set_timeout(CALL);
    request
}

async fn limited<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

/// An exporter without hooks that comes back for ever.
async fn serve(identity: Arc<Identity>) {
    let mut registered = false;
    loop {
        let _ = turn(&identity, &mut registered).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// From one connection to its end.
async fn turn(identity: &Identity, registered: &mut bool) -> Result<(), Status> {
    let mut stub = ControllerServiceClient::new(identity.connect());
    if !*registered {
        // One without any device counts as not registered.
        let root = DriverInstanceReport { uuid: identity.name.clone(), ..Default::default() };
        let register = RegisterRequest { reports: vec![root], ..Default::default() };
        limited(stub.register(identity.request(register))).await?;
        report(&mut stub, identity, ExporterStatus::Available).await?;
        *registered = true;
    }
    let mut heard = limited(stub.status(identity.request(StatusRequest {}))).await?;
    while let Some(message) = heard.message().await? {
        let phase = if message.leased { ExporterStatus::LeaseReady } else { ExporterStatus::Available };
        report(&mut stub, identity, phase).await?;
    }
    Ok(())
}

async fn report(
    stub: &mut ControllerServiceClient<Channel>,
    identity: &Identity,
    status: ExporterStatus,
) -> Result<(), Status> {
    let message = ReportStatusRequest { status: status.into(), ..Default::default() };
    limited(stub.report_status(identity.request(message))).await.map(drop)
}
