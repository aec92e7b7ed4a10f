//! Client and exporter without a router between them, over real sockets; the service is scripted.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fake;

use std::time::Duration;

use fake::{Fake, LEASE};
use jumpstarter_client::{Client, Connector, CreateLease, LocalHost, Session, Way};
use jumpstarter_exporter::{DirectListener, Exporter};
use jumpstarter_protocol::v1::{DirectPath, ExporterStatus};
use jumpstarter_transport::direct::{self, Digest, DirectError, Ticket};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const DRIVERS: &str = "  power: {type: jumpstarter_driver_power.driver.MockPower}
  echo: {type: jumpstarter_driver_network.driver.EchoNetwork}";
/// Far more than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);

struct Lab {
    fake: Fake,
    client: Client,
    _tasks: JoinSet<()>,
}

/// A lab whose exporter takes clients itself, leased and ready.
async fn lab() -> Lab {
    let mut tasks = JoinSet::new();
    let fake = Fake::start(&mut tasks).await;
    let listener = DirectListener::bind("127.0.0.1:0", &[]).await.unwrap();
    let exporter = Exporter::new(fake.exporter_config(DRIVERS), Connector::plaintext()).unwrap();
    let exporter = exporter.with_door(listener.door());
    tasks.spawn(listener.serve(CancellationToken::new()));
    tasks.spawn(async move { drop(exporter.run(CancellationToken::new()).await) });
    fake.reported(|seen| seen == [ExporterStatus::Available]).await;
    let client = fake.client().await;
    client.set_direct_limit(LONG);
    let lab = Lab { fake, client, _tasks: tasks };
    lab.lease().await;
    lab
}

impl Lab {
    async fn lease(&self) {
        let listens = self.fake.called("Listen");
        let wanted = CreateLease { exporter_name: Some("ex".to_owned()), duration: LONG, ..CreateLease::default() };
        self.client.create_lease(&wanted).await.unwrap();
        self.eventually("the exporter listens", || self.fake.called("Listen") > listens).await;
    }

    async fn release(&self) {
        let before = self.fake.state().reports.borrow().len();
        self.client.delete_lease(LEASE).await.unwrap();
        self.fake.reported(|seen| seen.len() > before && seen.last() == Some(&ExporterStatus::Available)).await;
    }

    async fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// A direct way that nobody has gone yet.
    async fn path(&self) -> DirectPath {
        *self.fake.state().last_path.lock().unwrap() = None;
        let client = self.fake.client().await;
        let line = client.line(LEASE);
        let told = async {
            while self.fake.state().last_path.lock().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        // Dropped as soon as the service has made up its mind, before the client can hear of it.
        tokio::select! {
            biased;
            () = told => {}
            _ = line => panic!("the client was faster"),
        }
        self.fake.state().last_path.lock().unwrap().clone().unwrap()
    }
}

async fn go(path: &DirectPath) -> Result<(), DirectError> {
    let fingerprint = Digest::from_bytes(&path.certificate_sha256).unwrap();
    let ticket = Ticket::from_bytes(&path.ticket).unwrap();
    direct::connect(&path.endpoints, fingerprint, &ticket, LONG).await.map(drop)
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
    assert!(received == sent, "{} bytes of {bytes} came back", received.len());
}

#[tokio::test]
async fn a_client_that_can_reach_the_exporter_needs_no_router() {
    let lab = lab().await;
    let session = lab.client.session(LEASE).await.unwrap();
    session.call("power", "on", &[]).await.unwrap();
    echo(&session, 3_000_000).await;
    assert!(matches!(session.way(), Some(Way::Direct(address)) if address.starts_with("127.0.0.1:")));

    // Programs on this machine, too.
    let dir = tempfile::tempdir().unwrap();
    let host = LocalHost::bind(dir.path()).unwrap();
    let stop = CancellationToken::new();
    let program = async {
        let session = Session::unix(host.path()).await.unwrap();
        session.call("power", "off", &[]).await.unwrap();
        echo(&session, 200_000).await;
        stop.cancel();
    };
    tokio::join!(host.serve(&lab.client, LEASE, stop.clone()), program);
    lab.eventually("the exporter gives up the router's halves", || lab.fake.waiting_halves() == 0).await;
}

/// Address of a listener whose queue takes connections that nobody answers.
static MUTE: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// What is done to the direct way that a client is told.
type Twist = fn(&mut DirectPath);

#[tokio::test]
async fn where_there_is_no_direct_way_the_router_is_used_and_no_time_is_lost_twice() {
    let lab = lab().await;
    // Its queue takes connections that nobody answers.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    MUTE.set(mute.local_addr().unwrap().to_string()).unwrap();
    let twists: [(&str, Twist); 5] = [
        ("nobody listens there", |path| path.endpoints = vec!["127.0.0.1:1".to_owned()]),
        ("nobody answers there", |path| path.endpoints = vec![MUTE.get().unwrap().clone()]),
        ("another certificate", |path| path.certificate_sha256 = vec![7; 32].into()),
        ("another ticket", |path| path.ticket = vec![7; 32].into()),
        ("nonsense", |path| path.ticket = vec![7; 3].into()),
    ];
    for (what, twist) in twists {
        let client = lab.fake.client().await;
        client.set_direct_limit(Duration::from_millis(300));
        *lab.fake.state().twist.lock().unwrap() = Some(twist);
        let asked = lab.fake.called("asked for a direct way");
        for _ in 0..2 {
            let session = client.session(LEASE).await.unwrap();
            session.call("power", "on", &[]).await.unwrap();
            assert!(matches!(session.way(), Some(Way::Router(_))), "{what}: {:?}", session.way());
        }
        assert_eq!(lab.fake.called("asked for a direct way"), asked + 1, "{what}");
    }
    let off = lab.fake.client().await;
    off.set_direct_limit(Duration::ZERO);
    let asked = lab.fake.called("asked for a direct way");
    off.session(LEASE).await.unwrap().report().await.unwrap();
    assert_eq!(lab.fake.called("asked for a direct way"), asked);
}

#[tokio::test]
async fn a_ticket_is_good_once_in_its_time_and_for_its_lease() {
    let lab = lab().await;
    let session = lab.client.session(LEASE).await.unwrap();
    session.report().await.unwrap();
    let used = lab.fake.state().last_path.lock().unwrap().clone().unwrap();
    assert!(matches!(go(&used).await, Err(DirectError::Refused)), "it was used");

    let fresh = lab.path().await;
    let made_up = DirectPath { ticket: vec![1; 32].into(), ..fresh.clone() };
    assert!(matches!(go(&made_up).await, Err(DirectError::Refused)), "nobody gave it out");
    go(&fresh).await.unwrap();
    assert!(matches!(go(&fresh).await, Err(DirectError::Refused)), "it was used, too");

    *lab.fake.state().direct_life.lock().unwrap() = 0;
    let old = lab.path().await;
    assert!(matches!(go(&old).await, Err(DirectError::Refused)), "its time is over");
    *lab.fake.state().direct_life.lock().unwrap() = 30;

    let foreign = lab.path().await;
    lab.release().await;
    assert!(matches!(go(&foreign).await, Err(DirectError::Unreachable(_))), "the door is closed");
    lab.lease().await;
    assert!(matches!(go(&foreign).await, Err(DirectError::Refused)), "it belongs to the lease before");
}

#[tokio::test]
async fn a_direct_connection_ends_with_its_lease() {
    let lab = lab().await;
    let session = lab.client.session(LEASE).await.unwrap();
    let mut stream = session.open("echo", "connect").await.unwrap();
    assert!(matches!(session.way(), Some(Way::Direct(_))));
    lab.release().await;
    let mut byte = [0];
    let end = timeout(LONG, stream.read(&mut byte)).await.expect("the stream ends with its lease");
    assert!(!matches!(end, Ok(n) if n > 0));
}

#[tokio::test]
async fn the_router_of_a_dial_still_works_for_a_client_that_comes_late() {
    let lab = lab().await;
    // The exporter waits for the client at its door first, then at the router, and takes it wherever it comes.
    *lab.fake.state().twist.lock().unwrap() = Some(|path| path.endpoints = vec!["127.0.0.1:1".to_owned()]);
    let session = lab.client.session(LEASE).await.unwrap();
    echo(&session, 200_000).await;
    assert!(matches!(session.way(), Some(Way::Router(_))));
    // An outage of the controller makes the exporter listen again, and it is not confused by what it knows already.
    lab.fake.state().epoch.send_modify(|epoch| *epoch += 1);
    let listens = lab.fake.called("Listen");
    lab.eventually("it listens again", || lab.fake.called("Listen") > listens).await;
    session.call("power", "on", &[]).await.unwrap();
    let other = lab.fake.client().await;
    *lab.fake.state().twist.lock().unwrap() = None;
    other.set_direct_limit(LONG);
    let session = other.session(LEASE).await.unwrap();
    session.call("power", "off", &[]).await.unwrap();
    assert!(matches!(session.way(), Some(Way::Direct(_))));
}
