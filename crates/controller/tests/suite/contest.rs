//! Many clients, few exporters, and a service that comes and goes: no device ever has two holders.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use jumpstarter_controller::ControllerConfig;
use jumpstarter_model::{Exporter, Lease as StoredLease};
use jumpstarter_protocol::v1::{ExporterStatus, StatusResponse};
use jumpstarter_store::{EmbeddedStore, Event, Kind, ListOptions, Object, ResourceVersion, Store as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::support::{FakeClient, FakeExporter, Faults, Lab, client::is_true, eventually, lab::NAMESPACE, wanted};

const EXPORTERS: usize = 3;
const RESTARTS: usize = 3;
/// The longest that anybody waits for a device, in a lab where all move on.
const PATIENCE: Duration = Duration::from_secs(90);

/// How many clients, and how often each leases a device.
#[derive(Clone, Copy)]
struct Size {
    clients: usize,
    cycles: usize,
}

/// What a peer does with an answer that says "in a moment".
async fn persistently<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, Status>) -> T {
    eventually(what, async || match call().await {
        Ok(answer) => Some(answer),
        Err(error) => {
            let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
            assert!(broken.contains(&error.code()), "{what}: {error}");
            sleep(Duration::from_millis(10)).await;
            None
        }
    })
    .await
}

/// An exporter that serves what it is told, over every broken stream, until it is stopped.
async fn exporter(peer: FakeExporter, stop: CancellationToken) {
    persistently("register", async || peer.try_register(&[]).await).await;
    report(&peer, ExporterStatus::Available).await;
    let mut serving: Option<String> = None;
    while !stop.is_cancelled() {
        let mut feed = persistently("open the Status stream", async || peer.try_status().await).await;
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                message = feed.next() => message,
            };
            let Ok(StatusResponse { leased, lease_name, .. }) = message else { break };
            match (&serving, leased, lease_name) {
                (Some(served), true, lease) => {
                    assert_eq!(Some(served), lease.as_ref(), "{} serves one lease and is told of another", peer.name());
                }
                (None, true, lease) => {
                    serving = lease;
                    report(&peer, ExporterStatus::LeaseReady).await;
                }
                (Some(_), false, _) => {
                    serving = None;
                    report(&peer, ExporterStatus::Available).await;
                }
                (None, false, _) => {}
            }
        }
    }
}

async fn report(peer: &FakeExporter, status: ExporterStatus) {
    persistently("report", async || peer.try_report(status, None, None).await).await;
}

/// Who holds which device, as the clients see it.
type Holders = Arc<Mutex<HashMap<String, String>>>;

/// A client that leases any device, uses it for a moment and gives it back, again and again.
async fn client(
    peer: FakeClient,
    store: EmbeddedStore,
    cycles: usize,
    mut dice: StdRng,
    holders: Holders,
    done: Arc<AtomicUsize>,
) {
    for cycle in 0..cycles {
        let id = format!("{}-{cycle}", peer.identity.name);
        let selector = if dice.random_bool(0.3) {
            format!("board=e{}", dice.random_range(0..EXPORTERS))
        } else {
            "pool=all".to_owned()
        };
        persistently("create a lease", async || peer.create(&id, wanted(&selector)).await).await;
        if dice.random_bool(0.1) {
            // Some lose patience; the lease may wait, hold a device or get one at this very moment.
            give_back(&peer, &id).await;
            done.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let asked = Instant::now();
        let device = loop {
            let lease = persistently("look at a lease", async || peer.get(&id).await).await;
            assert!(lease.effective_end_time.is_none(), "{id} ended by itself: {:?}", lease.conditions);
            let waited = asked.elapsed();
            assert!(waited < PATIENCE, "{id} was never served:\n{lease:?}\n{:#?}", exporters(&store).await);
            if is_true(&lease, "Ready") {
                break lease.exporter.expect("a ready lease has an exporter");
            }
        };
        let before = holders.lock().unwrap().insert(device.clone(), id.clone());
        assert_eq!(before, None, "{id} got {device}, which was taken");
        tokio::task::yield_now().await;
        let after = holders.lock().unwrap().remove(&device);
        assert_eq!(after.as_ref(), Some(&id), "{device} was taken from {id}");
        give_back(&peer, &id).await;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The exporters as stored, for people.
async fn exporters(store: &EmbeddedStore) -> Vec<Object> {
    store.list(Kind::Exporter, NAMESPACE, ListOptions::default()).await.unwrap().items
}

async fn give_back(peer: &FakeClient, id: &str) {
    persistently("give a lease back", async || match peer.delete(id).await {
        // An earlier attempt whose answer was lost.
        Err(error) if error.code() == Code::FailedPrecondition => Ok(()),
        answer => answer,
    })
    .await;
}

/// Looks at every version of every lease that was ever durable.
async fn auditor(store: EmbeddedStore, stop: CancellationToken) -> usize {
    let mut events = store.watch(&[Kind::Lease], ResourceVersion::default()).await.unwrap();
    let mut held: HashMap<String, String> = HashMap::new();
    let mut assignments = 0;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return assignments,
            event = events.next() => event.unwrap().unwrap(),
        };
        let (Event::Added(object) | Event::Modified(object) | Event::Deleted(object)) = &event;
        let lease: StoredLease = object.decode().unwrap();
        let Some(exporter) = lease.assigned_exporter() else { continue };
        if lease.is_ended() {
            if held.get(exporter).is_some_and(|holder| holder == object.name()) {
                held.remove(exporter);
            }
        } else if let Some(holder) = held.insert(exporter.to_owned(), object.name().to_owned()) {
            assert_eq!(holder, object.name(), "{exporter} has two holders");
        } else {
            assignments += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_device_ever_has_two_holders() {
    // The peers share this thread, the service has the others.
    let contest = async {
        let lab = Lab::with(|config| config.limits.repeated_look = Duration::from_secs(2)).await;
        contest(lab, Size { clients: 50, cycles: 4 }, seed()).await;
    };
    LocalSet::new().run_until(Box::pin(contest)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_device_ever_has_two_holders_on_a_store_that_writes_by_halves_and_fails() {
    let contest = async {
        let seed = seed();
        let shorter = |config: &mut ControllerConfig| config.limits.repeated_look = Duration::from_secs(1);
        let (lab, _) = Lab::behind(Faults::MANY, seed, shorter).await;
        contest(lab, Size { clients: 20, cycles: 4 }, seed).await;
    };
    LocalSet::new().run_until(Box::pin(contest)).await;
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    seed
}

async fn contest(mut lab: Lab, size: Size, seed: u64) {
    if std::env::var_os("TRACE").is_some() {
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).try_init();
    }
    let mut dice = StdRng::seed_from_u64(seed);
    let stop = CancellationToken::new();
    let mut audit = JoinSet::new();
    audit.spawn(auditor(lab.store.clone(), stop.clone()));
    let mut exporters = JoinSet::new();
    for number in 0..EXPORTERS {
        let peer = lab.exporter(&format!("e{number}"), &[("board", &format!("e{number}")), ("pool", "all")]).await;
        exporters.spawn_local(exporter(peer, stop.clone()));
    }
    for number in 0..EXPORTERS {
        lab.await_online(&format!("e{number}"), true).await;
    }
    let (holders, done) = (Holders::default(), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..size.clients {
        let peer = lab.client(&format!("c{number}")).await;
        let dice = StdRng::seed_from_u64(dice.random());
        clients.spawn_local(client(
            peer,
            lab.store.clone(),
            size.cycles,
            dice,
            Arc::clone(&holders),
            Arc::clone(&done),
        ));
    }

    let total = size.clients * size.cycles;
    for restart in 1..=RESTARTS {
        let at = total * restart / (RESTARTS + 1);
        let mut last = (0, Instant::now());
        while done.load(Ordering::Relaxed) < at {
            let progress = done.load(Ordering::Relaxed);
            if progress > last.0 {
                last = (progress, Instant::now());
            }
            assert!(last.1.elapsed() < crate::support::LIMIT, "nothing moves after {progress} of {total} leases");
            if let Some(failed) = clients.try_join_next() {
                failed.unwrap();
            }
            if let Some(failed) = exporters.try_join_next() {
                failed.unwrap();
            }
            sleep(Duration::from_millis(2)).await;
        }
        sleep(Duration::from_micros(dice.random_range(0..5000))).await;
        if dice.random_bool(0.5) {
            lab.stop().await;
        } else {
            lab.crash().await;
        }
        lab.run().await;
    }
    while let Some(finished) = clients.join_next().await {
        finished.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), total);
    stop.cancel();
    while let Some(finished) = exporters.join_next().await {
        finished.unwrap();
    }
    let assignments = audit.join_next().await.unwrap().unwrap();
    assert!(assignments >= total / 2, "{assignments} assignments of {total} leases were seen");
    // Whatever was left half done comes to its end.
    for number in 0..EXPORTERS {
        let free = |exporter: &Exporter| exporter.status.as_ref().is_some_and(|status| status.lease_ref.is_none());
        lab.await_exporter(&format!("e{number}"), "is free", free).await;
    }
    let leases = lab.store.list(Kind::Lease, NAMESPACE, ListOptions::default()).await.unwrap().items;
    assert_eq!(leases.len(), total, "every lease is there once");
    for lease in leases {
        let done = |lease: &StoredLease| {
            let labels = lease.metadata.labels.clone().unwrap_or_default();
            lease.is_ended() && labels.contains_key("jumpstarter.dev/lease-ended")
        };
        lab.await_lease(lease.name(), "has ended and says so", done).await;
    }
}
