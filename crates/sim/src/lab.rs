//! Puts a lab together, lets it live, closes it, and looks at what is left.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use jiff::SignedDuration;
use jumpstarter_auth::{SigningKey, TicketIssuer, TicketKey, TicketKeys, TicketVerifier, TokenIssuer};
use jumpstarter_controller::ControllerConfig;
use jumpstarter_model::{Client, ClientSpec, Exporter, ExporterSpec, Lease};
use jumpstarter_store::{Clock, Key, Kind, Object, Write};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::Checker,
    clock::{Offset, Time},
    dice::Dice,
    faults::{Director, Probe},
    log::Log,
    network::Network,
    peers,
    plan::{Flaw, Plan},
    policies, quotas,
    report::Report,
    router::Router,
    server::{Factory, NAMESPACE, ROUTER},
    store::SimStore,
};

/// Events that the store remembers.
const HISTORY: usize = 2_000;
/// Time for clients to give everything back after closing time.
const CLOSING: Duration = Duration::from_mins(20);
/// Quiet time after which nothing may be left: longer than the service believes in the longest hook.
const AFTER_HOURS: Duration = Duration::from_mins(40);

/// Entries that an object may have in the service's tables: in the read model, its index, the core and its indexes, as a
/// topic, in presence and rendezvous, and as an alarm or two; and what may be there besides.
const ENTRIES: usize = 14;
const TABLES: usize = 200;

/// What everybody shares.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) plan: Arc<Plan>,
    pub(crate) time: Time,
    pub(crate) store: SimStore,
    pub(crate) network: Network,
    pub(crate) router: Router,
    log: Log,
    checker: Arc<Mutex<Checker>>,
    closing: CancellationToken,
}

impl Lab {
    /// The checker. Hold it for one statement: every commit asks for it.
    pub(crate) fn check(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, text: fmt::Arguments<'_>) {
        self.log.note(self.time.elapsed(), text);
    }

    pub(crate) fn violation(&self, kind: &'static str, text: String) {
        self.check().violation(kind, text, &[]);
    }

    /// A fault is brought about, whose consequences for the service may last so long.
    pub(crate) fn fault(&self, lasts: Duration, text: fmt::Arguments<'_>) {
        self.note(format_args!("fault: {text}"));
        let mut check = self.check();
        check.counts.faults += 1;
        check.trouble(lasts);
    }

    /// Whether clients are to finish and nothing goes wrong any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Waits so long. Returns whether the lab closes before that is over.
    pub(crate) async fn closing_comes_first(&self, pause: Duration) -> bool {
        timeout(pause, self.closing.cancelled()).await.is_ok()
    }

    /// Whether a lease is stored and has not ended.
    pub(crate) fn is_live(&self, lease: &str) -> bool {
        let found = self.store.read(&Key::new(Kind::Lease, NAMESPACE, lease));
        found.and_then(|object| object.decode::<Lease>().ok()).is_some_and(|lease| !lease.is_ended())
    }

    /// The token in a Secret, once it is there.
    pub(crate) async fn token(&self, secret: &str) -> String {
        let key = Key::new(Kind::Secret, NAMESPACE, secret);
        loop {
            let secret = self.store.read(&key).and_then(|object| object.decode::<Secret>().ok());
            if let Some(token) = secret.and_then(|secret| secret.data?.remove("token")) {
                return String::from_utf8(token.0).unwrap_or_default();
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Runs a simulation. Everything in the report but the wall time depends on the plan alone.
///
/// # Panics
/// When the simulated service does.
pub fn run(plan: &Plan) -> Report {
    let began = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing");
    let mut report = runtime.block_on(simulate(plan.clone()));
    report.wall = began.elapsed();
    report
}

async fn simulate(plan: Plan) -> Report {
    let plan = Arc::new(plan);
    let (time, log, stop) = (Time::begin(), Log::new(plan.trace), CancellationToken::new());
    let checker = Arc::new(Mutex::new(Checker::new(time, log.clone(), (*plan).clone(), stop.clone())));
    let observer = {
        let checker = Arc::clone(&checker);
        Arc::new(move |commit: &_| checker.lock().unwrap_or_else(PoisonError::into_inner).committed(commit))
    };
    let store = SimStore::new(
        Clock::from_fn(move || time.now()),
        HISTORY.max(plan.exporters * 20),
        plan.faults.clone(),
        Dice::named(plan.seed, "store"),
        plan.flaw,
        Some(observer),
    );
    let keys = TicketKeys::new(TicketKey::generate().expect("there is randomness"));
    let lab = Lab {
        time,
        network: Network::new(plan.seed, plan.faults.clone()),
        router: Router::new(TicketVerifier::new(&keys)),
        store,
        log,
        checker,
        closing: CancellationToken::new(),
        plan,
    };
    lab.note(format_args!("{:?}", lab.plan.faults));
    furnish(&lab);
    let mut config = ControllerConfig::new(NAMESPACE, "controller.example:8082", ROUTER);
    config.quarantine.share = lab.plan.faults.quarantine;
    config.quarantine.time = SignedDuration::from_mins(2);
    config.quarantine.longest = SignedDuration::from_mins(10);
    config.quarantine.checks = lab.plan.faults.checks;
    config.lease_retention = Duration::from_mins(20);
    config.turnaround = Duration::from_secs(lab.plan.faults.turnaround);
    config.preemption_grace = Duration::from_secs(lab.plan.faults.grace);
    if lab.plan.faults.longest_wait > 0 && lab.plan.flaw != Flaw::EndlessWait {
        config.queue.longest_wait = Duration::from_secs(lab.plan.faults.longest_wait);
    }
    match lab.plan.flaw {
        Flaw::ShortGrace => config.preemption_grace /= 4,
        Flaw::WideQuarantine => config.quarantine.share = 100,
        Flaw::NoTurnaround => config.turnaround = Duration::ZERO,
        _ => {}
    }
    let factory = Factory {
        config,
        store: lab.store.clone(),
        network: lab.network.clone(),
        issuer: Arc::new(TokenIssuer::new(SigningKey::generate().expect("there is randomness"))),
        tickets: Arc::new(TicketIssuer::new(&keys)),
        time,
        started: AtomicU64::new(0),
        hurried: lab.plan.flaw == Flaw::FastClock,
    };
    let run = async {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = live(&lab, factory) => {}
        }
    };
    run.await;
    report(&lab)
}

/// Clients, exporters and policies.
fn furnish(lab: &Lab) {
    let put = |object: Object| _ = lab.store.commit(&[Write::Create(object)]);
    let named = |name: String, labels: &[(&str, &str)]| ObjectMeta {
        name: Some(name),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        ..ObjectMeta::default()
    };
    for mut policy in policies::objects(&lab.plan.faults) {
        policy.metadata.namespace = Some(NAMESPACE.to_owned());
        put(Object::from_resource(&policy));
    }
    for mut quota in quotas::objects(&lab.plan) {
        quota.metadata.namespace = Some(NAMESPACE.to_owned());
        put(Object::from_resource(&quota));
    }
    for number in 0..lab.plan.clients {
        let (name, team) = (format!("c{number}"), policies::team(&lab.plan.faults, number));
        lab.check().client_is(&name, team);
        let metadata = named(name, &[("team", team)]);
        put(Object::from_resource(&Client { metadata, spec: ClientSpec::default(), status: None }));
    }
    for number in 0..lab.plan.exporters {
        let pool = if number % 3 == 2 { "b" } else { "a" };
        let board = format!("b{}", number / 3 % 2);
        let metadata = named(format!("e{number}"), &[("pool", pool), ("board", &board)]);
        let spec = ExporterSpec { enabled: Some(true), ..ExporterSpec::default() };
        put(Object::from_resource(&Exporter { metadata, spec, status: None }));
    }
}

/// A day of the lab.
async fn live(lab: &Lab, factory: Factory) {
    let mut director = Director::new(lab.clone(), factory);
    director.open().await;
    let (mut machines, mut people, mut own) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    own.spawn(tick(lab.clone(), director.probe()));
    for number in 0..lab.plan.exporters {
        machines.spawn(peers::exporter::live(lab.clone(), format!("e{number}")));
    }
    for number in 0..lab.plan.clients {
        people.spawn(peers::client::live(lab.clone(), format!("c{number}")));
    }
    people.spawn(peers::administrator::live(lab.clone()));
    people.spawn(peers::group::by_hand(lab.clone()));
    people.spawn(peers::maintainer::live(lab.clone()));
    people.spawn(peers::maintainer::operate(lab.clone()));
    let day = async {
        tokio::select! {
            biased;
            () = director.direct() => {}
            () = panicking(&mut machines) => {}
        }
    };
    _ = timeout(lab.plan.length, day).await;

    lab.note(format_args!("closing time"));
    lab.closing.cancel();
    lab.store.mend();
    lab.network.mend();
    director.close().await;
    let home = async { while let Some(Ok(())) = people.join_next().await {} };
    if timeout(CLOSING, home).await.is_err() {
        lab.violation("nothing-left", format!("{} clients wait for ever", people.len()));
    }
    give_all_back(lab);
    sleep(AFTER_HOURS).await;
    lab.check().after_hours();
    let checks = i64::try_from(lab.check().own_leases()).unwrap_or(i64::MAX);
    for gauge in ["leases_active", "leases_waiting"] {
        if let Some(left) = director.probe().gauge(gauge).filter(|left| *left > checks) {
            lab.violation("nothing-left", format!("the service counts {left} {gauge}"));
        }
    }
    machines.shutdown().await;
    people.shutdown().await;
    director.shut_down().await;
    // Requests under way, connections that fall silent, and calls that are never answered end by themselves.
    sleep(Duration::from_mins(5)).await;
    own.shutdown().await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    if tasks > 0 {
        lab.violation("nothing-left", format!("{tasks} tasks go on after everything was stopped"));
    }
    lab.note(format_args!("the end; {} halves wait at the router", lab.router.sweep()));
}

/// A peer that panics is a mistake in the simulation.
async fn panicking(peers: &mut JoinSet<()>) {
    while let Some(ended) = peers.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
    std::future::pending::<()>().await;
}

/// Ends the leases that were made by hand, or whose clients have forgotten them.
fn give_all_back(lab: &Lab) {
    for object in lab.store.all(Kind::Lease, NAMESPACE) {
        if let Ok(mut lease) = object.decode::<Lease>()
            && !lease.is_ended()
        {
            lab.check().release_asked(object.name(), "by hand");
            lease.spec.release = Some(true);
            _ = lab.store.commit(&[Write::Update(Object::from_resource(&lease))]);
        }
    }
}

/// Has everything looked at once a second.
async fn tick(lab: Lab, probe: Probe) {
    let most = 300 + 60 * (lab.plan.exporters + lab.plan.clients);
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut seconds = 0_u64;
    loop {
        ticks.tick().await;
        lab.check().tick();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if tasks > most {
            lab.violation("bounded", format!("{tasks} tasks for {} exporters", lab.plan.exporters));
        }
        seconds += 1;
        if seconds.is_multiple_of(60) {
            bounded_tables(&lab, &probe);
        }
    }
}

/// What the service remembers is in proportion to what there is, however long it runs.
fn bounded_tables(lab: &Lab, probe: &Probe) {
    let objects: usize = Kind::OBSERVED.map(|kind| lab.store.count(kind)).iter().sum();
    let most = TABLES + ENTRIES * objects;
    if let Some(entries) = probe.gauge("table_entries").and_then(|entries| usize::try_from(entries).ok())
        && entries > most
    {
        lab.violation("bounded", format!("the service's tables have {entries} entries for {objects} objects"));
    }
}

fn report(lab: &Lab) -> Report {
    let mut check = lab.check();
    check.counts.messages = lab.network.messages();
    let violation = check.violation.take();
    let (digest, lines) = lab.log.digest();
    let tail = match &violation {
        None => Vec::new(),
        Some(violation) => lab.log.tail(60, &violation.about),
    };
    Report {
        seed: lab.plan.seed,
        exporters: lab.plan.exporters,
        clients: lab.plan.clients,
        violation,
        digest,
        lines,
        counts: check.counts,
        simulated: lab.time.elapsed(),
        wall: Duration::ZERO,
        tail,
    }
}

/// A clock of the service that a flaw may have changed.
pub(crate) fn service_clock(time: Time, offset: &Offset, hurried: bool) -> Clock {
    if !hurried {
        return time.clock(offset);
    }
    Clock::from_fn(move || time.now() + 2 * jiff::SignedDuration::try_from(time.elapsed()).unwrap_or_default())
}
