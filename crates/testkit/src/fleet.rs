//! Many exporters in one process, each with a connection of its own, for benchmarks.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jumpstarter_protocol::v1::{
    DriverInstanceReport, ExporterStatus, RegisterRequest, ReportStatusRequest, StatusRequest, StatusResponse,
    controller_service_client::ControllerServiceClient,
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};
use tonic::{Status, transport::Channel};

use crate::{
    Cluster, Lab, MINUTE, eventually,
    grpc::{Grpc, Identity},
};

/// How many are connected at a time.
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

/// Identities of exporters that exist, not yet connected. They are made through the operator's socket itself, or many
/// at a time, since a process for each of thousands would take longer than the benchmark.
#[track_caller]
pub fn recruit(lab: &Lab, prefix: &str, count: usize) -> Vec<Identity> {
    if let Some(cluster) = lab.service.cluster() {
        return recruit_in_cluster(lab, cluster, prefix, count);
    }
    (0..count)
        .map(|number| {
            let name = format!("{prefix}-{number}");
            let exporter = exporter(&name);
            let path = "/apis/jumpstarter.dev/v1alpha1/namespaces/default/exporters";
            ask(lab, "POST", path, &exporter.to_string()).expect("create an exporter");
            let path = format!("/api/v1/namespaces/default/secrets/{name}-exporter");
            let token = eventually("the exporter's token", MINUTE, || {
                let secret = ask(lab, "GET", &path, "")?;
                token(secret["data"]["token"].as_str()?)
            });
            lab.exporter_identity(&name, token)
        })
        .collect()
}

#[track_caller]
fn recruit_in_cluster(lab: &Lab, cluster: &Cluster, prefix: &str, count: usize) -> Vec<Identity> {
    let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    let items: Vec<Value> = names.iter().map(|name| exporter(name)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let place = ["-n", cluster.namespace()];
    let create = [&["create", "-f", "-"][..], &place].concat();
    cluster.api().kubectl_with(&create, &list).unwrap_or_else(|said| panic!("create exporters: {said}"));
    let get = [&["get", "secrets", "-o", "json"][..], &place].concat();
    let tokens = eventually("the exporters' tokens", MINUTE * 5, || {
        let secrets: Value = serde_json::from_str(&cluster.api().kubectl(&get)).expect("a list is JSON");
        let secrets: HashMap<&str, &str> = secrets["items"]
            .as_array()?
            .iter()
            .filter_map(|secret| Some((secret["metadata"]["name"].as_str()?, secret["data"]["token"].as_str()?)))
            .collect();
        names.iter().map(|name| token(secrets.get(format!("{name}-exporter").as_str())?)).collect::<Option<Vec<_>>>()
    });
    names.iter().zip(tokens).map(|(name, token)| lab.exporter_identity(name, token)).collect()
}

fn exporter(name: &str) -> Value {
    json!({
        "apiVersion": "jumpstarter.dev/v1alpha1",
        "kind": "Exporter",
        "metadata": { "name": name, "labels": { "name": name } },
    })
}

fn token(encoded: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

/// One request to the operator's socket; nothing unless it was answered with success.
fn ask(lab: &Lab, method: &str, path: &str, body: &str) -> Option<Value> {
    let mut socket = UnixStream::connect(lab.service.data().join("admin.sock")).expect("the operator's socket");
    let length = body.len();
    // HTTP/1.0: the answer comes in one piece, and the connection ends after it.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("ask the service");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("read the answer");
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let success = head.split(' ').nth(1)?.starts_with('2');
    success.then(|| serde_json::from_str(body).ok())?
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
