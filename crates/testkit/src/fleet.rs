//! Many exporters in one process, each with a connection of its own, for benchmarks.

use std::{sync::Arc, thread};

use jumpstarter_protocol::v1::{
    DriverInstanceReport, ExporterStatus, RegisterRequest, ReportStatusRequest, StatusRequest, StatusResponse,
    controller_service_client::ControllerServiceClient,
};
use tokio::{sync::watch, task::JoinSet};
use tonic::{Status, transport::Channel};

use crate::{
    Lab,
    grpc::{Grpc, Identity},
};

/// How many are made, and later connected, at a time.
const AT_ONCE: usize = 8;

/// Connected exporters. Each does what an exporter without hooks does when its lease comes and goes.
#[derive(Debug)]
pub struct Fleet {
    exporters: Vec<Member>,
    // Dropped with the fleet, which disconnects all of them.
    _tasks: JoinSet<Result<(), Status>>,
}

/// One exporter of a fleet.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name, which is also its label `name`.
    pub name: String,
    /// What the service said last.
    pub heard: watch::Receiver<StatusResponse>,
}

/// Identities of exporters that exist, not yet connected. Making them takes a process each.
#[track_caller]
pub fn recruit(lab: &Lab, prefix: &str, count: usize) -> Vec<Identity> {
    let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    thread::scope(|scope| {
        let shares: Vec<_> = names.chunks(count.div_ceil(AT_ONCE).max(1)).collect();
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || {
                    let make = |name: &String| {
                        Identity::from_exporter_config(&lab.exporter_config(name, &[("name".to_owned(), name.clone())]))
                    };
                    share.iter().map(make).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("make exporters")).collect()
    })
}

impl Fleet {
    /// Connects, registers and keeps these exporters; `client` lends its runtime.
    #[track_caller]
    pub fn connect(client: &Grpc, identities: Vec<Identity>) -> Self {
        client.block_on(async {
            let mut tasks = JoinSet::new();
            let mut exporters = Vec::new();
            let mut identities = identities.into_iter().map(Arc::new);
            loop {
                let mut joining = JoinSet::new();
                for identity in identities.by_ref().take(AT_ONCE) {
                    joining.spawn(join(identity));
                }
                if joining.is_empty() {
                    return Self { exporters, _tasks: tasks };
                }
                while let Some(joined) = joining.join_next().await {
                    let (member, serve) = joined.expect("a task").expect("connect an exporter");
                    exporters.push(member);
                    tasks.spawn(serve);
                }
            }
        })
    }

    /// The exporters, in no order.
    pub fn members(&self) -> &[Member] {
        &self.exporters
    }
}

type Serving = futures::future::BoxFuture<'static, Result<(), Status>>;

async fn join(identity: Arc<Identity>) -> Result<(Member, Serving), Status> {
    let mut controller = ControllerServiceClient::new(identity.connect());
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
    controller.register(identity.request(register)).await?;
    report(&mut controller, &identity, ExporterStatus::Available).await?;
    let mut status = controller.status(identity.request(StatusRequest {})).await?.into_inner();
    let first = status.message().await?.ok_or_else(|| Status::aborted("no first status"))?;
    let (say, heard) = watch::channel(first);
    let member = Member { name: identity.name.clone(), heard };
    let serve = async move {
        while let Some(message) = status.message().await? {
            let leased = message.leased;
            if say.send(message).is_err() {
                break;
            }
            let phase = if leased { ExporterStatus::LeaseReady } else { ExporterStatus::Available };
            report(&mut controller, &identity, phase).await?;
        }
        Ok(())
    };
    Ok((member, Box::pin(serve)))
}

async fn report(
    controller: &mut ControllerServiceClient<Channel>,
    identity: &Identity,
    status: ExporterStatus,
) -> Result<(), Status> {
    let request = ReportStatusRequest { status: status.into(), ..Default::default() };
    controller.report_status(identity.request(request)).await.map(drop)
}
