//! Client and exporter through a scripted controller and a pairing router.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fake;

use std::time::Duration;

use fake::{Fake, LEASE};
use futures::{StreamExt as _, TryStreamExt as _};
use jumpstarter_client::{ClientError, Connector, CreateLease, LocalHost, Session, UpdateLease};
use jumpstarter_drivers::Registry;
use jumpstarter_exporter::{ExitReason, Exporter, ExporterError};
use jumpstarter_protocol::{
    client::v1::{Lease, LeaseQueue},
    v1::ExporterStatus,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

const DRIVERS: &str = "  power: {type: jumpstarter_driver_power.driver.MockPower}
  echo: {type: jumpstarter_driver_network.driver.EchoNetwork}
  group: {children: {again: {ref: power}}}";

struct Lab {
    fake: Fake,
    stop: CancellationToken,
    exporter: tokio::task::JoinHandle<Result<ExitReason, ExporterError>>,
    _tasks: JoinSet<()>,
}

#[expect(clippy::disallowed_methods, reason = "the test owns and joins the handle")]
async fn lab(drivers: &str) -> Lab {
    let mut tasks = JoinSet::new();
    let fake = Fake::start(&mut tasks).await;
    let stop = CancellationToken::new();
    let exporter = Exporter::new(fake.exporter_config(drivers), Connector::plaintext()).unwrap();
    let exporter = tokio::spawn(exporter.run(stop.clone()));
    fake.reported(|seen| seen == [ExporterStatus::Available]).await;
    Lab { fake, stop, exporter, _tasks: tasks }
}

fn wanted() -> CreateLease {
    CreateLease { exporter_name: Some("ex".to_owned()), duration: Duration::from_mins(10), ..CreateLease::default() }
}

async fn echo(session: &Session, bytes: usize) {
    let stream = session.open("echo", "connect").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let receive = async { read.read_to_end(&mut received).await.unwrap() };
    tokio::join!(send, receive);
    assert_eq!(received.len(), sent.len());
    assert!(received == sent);
}

#[tokio::test]
async fn a_lease_from_request_to_release() {
    let Lab { fake, stop, exporter, _tasks } = lab(DRIVERS).await;
    let client = fake.client().await;
    *fake.state().pending.lock().unwrap() = 2;
    let lease = client.create_lease(&wanted()).await.unwrap();
    let mut reasons = Vec::new();
    let ready = client.wait_ready(&lease.name, |reason| reasons.push(reason.to_owned())).await.unwrap();
    assert_eq!(ready.exporter.as_deref(), Some("ex"));
    assert_eq!(reasons, ["in the queue"]);
    *fake.state().refusals.lock().unwrap() = vec![Status::failed_precondition("exporter is not ready")];

    let session = client.session(LEASE).await.unwrap();
    fake.reported(|seen| seen.contains(&ExporterStatus::LeaseReady)).await;
    let paths: Vec<_> = session.report().await.unwrap().drivers.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["", "power", "echo", "group", "group.again"]);
    assert_eq!(session.call("power", "on", &[]).await.unwrap(), json!(null));
    assert_eq!(session.call("group.again", "off", &[]).await.unwrap(), json!(null));
    let readings: Vec<_> = session.stream_call("power", "read", &[]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(readings, [json!({"voltage": 0.0, "current": 0.0}), json!({"voltage": 5.0, "current": 2.0})]);
    echo(&session, 3_000_000).await;

    // Two readers both get what was logged before they came.
    for _ in 0..2 {
        let lines: Vec<_> = session.logs().await.unwrap().take(2).try_collect().await.unwrap();
        assert_eq!(lines.iter().map(|l| l.message.as_str()).collect::<Vec<_>>(), ["power on", "power off"]);
    }
    assert_eq!(session.status().await.unwrap().status, ExporterStatus::LeaseReady);
    assert!(session.end_session().await.unwrap());
    let state = session.status().await.unwrap();
    assert_eq!((state.status, state.version), (ExporterStatus::Available, 2));

    client.delete_lease(LEASE).await.unwrap();
    fake.reported(|seen| seen.last() == Some(&ExporterStatus::Available) && seen.len() >= 3).await;
    stop.cancel();
    assert_eq!(timeout(Duration::from_secs(10), exporter).await.unwrap().unwrap().unwrap(), ExitReason::Stopped);
    assert_eq!(fake.called("Unregister"), 1);
    assert_eq!(fake.state().reports.borrow().last(), Some(&ExporterStatus::Offline));
}

#[tokio::test]
async fn errors_name_what_failed() {
    let lab = lab(DRIVERS).await;
    let fake = lab.fake.clone();
    let client = fake.client().await;
    client.create_lease(&wanted()).await.unwrap();
    let session = client.session(LEASE).await.unwrap();
    for (driver, method, args, text) in [
        ("power", "fly", vec![], "gRPC NotFound: method fly not found on driver"),
        ("power", "read", vec![], "gRPC NotFound"),
        ("power", "on", vec![json!(1)], "gRPC InvalidArgument: on takes 0 arguments, 1 given"),
        ("nothing", "on", vec![], "no driver 'nothing' on this exporter; it has: power, echo, group, group.again"),
    ] {
        let err = session.call(driver, method, &args).await.unwrap_err().to_string();
        assert!(err.contains(text), "{err}");
    }
    let Err(err) = session.open("echo", "other").await else { panic!("opened") };
    assert!(err.to_string().contains("NotFound"), "{err}");
    *fake.state().refusals.lock().unwrap() = vec![Status::unknown("permission denied")];
    assert!(matches!(client.session(LEASE).await, Err(ClientError::Transferred)));
    assert_eq!(client.list_leases(true).await.unwrap().len(), 2);
    let longer = UpdateLease { duration: Some(Duration::from_secs(90)), ..UpdateLease::default() };
    assert_eq!(client.update_lease(LEASE, &longer).await.unwrap().duration, longer.duration);
    let err = client.get_exporter("ex").await.unwrap_err().to_string();
    assert!(err.contains("no such exporter"), "{err}");
}

#[tokio::test]
async fn a_session_survives_an_outage_of_the_controller() {
    let lab = lab(DRIVERS).await;
    let fake = lab.fake.clone();
    let client = fake.client().await;
    client.create_lease(&wanted()).await.unwrap();
    let session = client.session(LEASE).await.unwrap();
    session.call("power", "on", &[]).await.unwrap();
    let report = session.report().await.unwrap().clone();
    fake.reported(|seen| seen.contains(&ExporterStatus::LeaseReady)).await;
    let before = (fake.called("Status"), fake.called("Listen"));
    fake.state().epoch.send_modify(|epoch| *epoch += 1);
    // Running calls go on, and the exporter comes back and says again what it is doing.
    session.call("power", "off", &[]).await.unwrap();
    fake.reported(|seen| seen.iter().filter(|s| **s == ExporterStatus::LeaseReady).count() >= 2).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while fake.called("Status") == before.0 || fake.called("Listen") == before.1 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A new dial reaches the same drivers: the session was not restarted.
    let second = client.session(LEASE).await.unwrap();
    assert_eq!(second.report().await.unwrap(), &report);
    assert_eq!(fake.called("Register"), 1);
}

#[tokio::test]
async fn each_lease_gets_fresh_drivers_and_ends_its_connections() {
    let lab = lab(DRIVERS).await;
    let fake = lab.fake.clone();
    let client = fake.client().await;
    let mut uuids = Vec::new();
    for n in 1..=2 {
        client.create_lease(&wanted()).await.unwrap();
        let ready =
            move |seen: &[ExporterStatus]| seen.iter().filter(|s| **s == ExporterStatus::LeaseReady).count() == n;
        fake.reported(ready).await;
        let session = client.session(LEASE).await.unwrap();
        uuids.push(session.report().await.unwrap().driver("power").unwrap().uuid.clone());
        let mut stream = session.open("echo", "connect").await.unwrap();
        client.delete_lease(LEASE).await.unwrap();
        let mut byte = [0];
        let end =
            timeout(Duration::from_secs(10), stream.read(&mut byte)).await.expect("the stream ends with its lease");
        assert!(!matches!(end, Ok(n) if n > 0));
        fake.reported(|seen| seen.last() == Some(&ExporterStatus::Available)).await;
    }
    assert_ne!(uuids[0], uuids[1]);
}

#[tokio::test]
async fn programs_reach_the_exporter_through_a_local_socket() {
    let lab = lab(DRIVERS).await;
    let fake = lab.fake.clone();
    let client = fake.client().await;
    client.create_lease(&wanted()).await.unwrap();
    // A Dial before anyone listens would be answered with UNAVAILABLE and repeated.
    while fake.called("Listen") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let host = LocalHost::bind(dir.path()).unwrap();
    let stop = CancellationToken::new();
    let program = async {
        for _ in 0..2 {
            let session = Session::unix(host.path()).await.unwrap();
            session.call("power", "on", &[]).await.unwrap();
            echo(&session, 200_000).await;
        }
        stop.cancel();
    };
    tokio::join!(host.serve(&client, LEASE, stop.clone()), program);
    assert_eq!(fake.called("Dial"), 2, "one Dial per connection");
    let path = host.path().to_owned();
    drop(host);
    assert!(!path.exists());
}

#[tokio::test]
async fn drivers_that_cannot_be_built_are_reported_before_registering() {
    let mut tasks = JoinSet::new();
    let fake = Fake::start(&mut tasks).await;
    let config = fake.exporter_config("  x: {type: jumpstarter_driver_dutlink.driver.Dutlink}");
    let exporter = Exporter::new(config, Connector::plaintext()).unwrap().with_registry(Registry::builtin());
    let err = exporter.run(CancellationToken::new()).await.unwrap_err();
    let text = format!("{err}: {}", std::error::Error::source(&err).unwrap());
    assert!(text.contains("'x'") && text.contains("pip install jumpstarter-cli jumpstarter-driver-dutlink"), "{text}");
    assert_eq!(fake.called("Register"), 0);
}

#[tokio::test]
async fn a_refused_exporter_says_why() {
    let mut tasks = JoinSet::new();
    let fake = Fake::start(&mut tasks).await;
    let mut config = fake.exporter_config("  {}");
    config.token = Some("wrong".into());
    let err = Exporter::new(config, Connector::plaintext()).unwrap().run(CancellationToken::new()).await.unwrap_err();
    assert!(err.to_string().contains("wrong identity") && err.to_string().contains("jmp admin import"), "{err}");
    assert!(!err.to_string().contains("Bearer"));
}

#[tokio::test]
async fn a_lease_is_watched_where_the_service_can_and_the_watch_survives_the_service() {
    let mut tasks = JoinSet::new();
    let fake = Fake::start(&mut tasks).await;
    let client = fake.client().await;
    let waiting = |position| {
        *fake.state().pending.lock().unwrap() = 1;
        let queue = Some(LeaseQueue { position, ..LeaseQueue::default() });
        Ok(Lease { queue, ..fake.lease() })
    };
    let watches = [
        vec![waiting(2), waiting(2), waiting(1), Err(Status::unavailable("restarting"))],
        // A service that stops in good order.
        vec![],
        vec![waiting(1), Ok(fake.lease())],
    ];
    fake.state().watches.lock().unwrap().extend(watches);
    let mut reasons = Vec::new();
    let ready = client.wait_ready(LEASE, |reason| reasons.push(reason.to_owned())).await.unwrap();
    assert_eq!(ready.exporter.as_deref(), Some("ex"));
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert_eq!(reasons[0], "in the queue (position 2 in the queue)");
    assert_eq!(reasons[1], "in the queue (position 1 in the queue)");
    assert!(reasons[2].contains("restarting"), "{reasons:?}");
    assert_eq!(reasons[3], reasons[1]);
    assert_eq!((fake.called("WatchLease"), fake.called("GetLease")), (3, 0));

    // A service without watches is asked once whether it has them.
    for _ in 0..2 {
        client.wait_ready(LEASE, |_| {}).await.unwrap();
    }
    assert_eq!((fake.called("WatchLease"), fake.called("GetLease")), (4, 2));
    fake.state().watches.lock().unwrap().extend([vec![Err(Status::not_found("no such lease"))]]);
    let gone = fake.client().await.wait_ready(LEASE, |_| {}).await.unwrap_err();
    assert!(matches!(gone, ClientError::Controller { .. }), "{gone}");
}
