//! Random stories.
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_exporter::{ExitReason, Exporter, ExporterError, Stop};
use jumpstarter_protocol::v1::ExporterStatus;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    client::{Seen, visit},
    host::{DEVICE, Host},
    network::Network,
    service::Service,
};

/// Scenarios; each is another seed. Pauses between attempts are random beyond it.
const SCENARIOS: u64 = 200;
/// Random steps of each before the lab calms down.
const WILD: usize = 25;
/// Simulated time within which a calm lab settles: all limits of drivers and hooks, several times over.
const CALM: Duration = Duration::from_mins(12);

struct World {
    rng: StdRng,
    host: Host,
    service: Service,
    lab: Network,
    outside: Network,
    config: ExporterConfig,
    /// The exporter's process, and how to stop it.
    process: JoinSet<Result<ExitReason, ExporterError>>,
    stop: Stop,
    number: u32,
    killed: Vec<u32>,
    exits: u32,
    clients: JoinSet<Seen>,
    tasks: JoinSet<()>,
}

fn config(rng: &mut StdRng) -> ExporterConfig {
    let mut hooks = String::new();
    for name in ["before", "after"] {
        if rng.random_bool(0.75) {
            let failure = ["warn", "endLease", "exit"][rng.random_range(0..3)];
            writeln!(hooks, "  {name}Lease: {{script: {name}, timeout: 20, onFailure: {failure}}}").unwrap();
        }
    }
    let one = rng.random_bool(0.1);
    let yaml = format!(
        "metadata: {{namespace: lab, name: ex}}\nendpoint: lab.example:1\ntoken: t\nexitOnLeaseEnd: {one}\nexport:\n  \
         device: {{type: {DEVICE}}}\nhooks:\n{}",
        if hooks.is_empty() { "  {}\n" } else { &hooks }
    );
    ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let host = Host::new(seed);
        let mut tasks = JoinSet::new();
        let (connections, incoming) = mpsc::channel(16);
        let service = Service::start(host.clone(), incoming, &mut tasks);
        let (lab, outside) = (Network::new(connections.clone()), Network::new(connections));
        let config = config(&mut rng);
        Self {
            rng,
            host,
            service,
            lab,
            outside,
            config,
            process: JoinSet::new(),
            stop: Stop::default(),
            number: 0,
            killed: Vec::new(),
            exits: 0,
            clients: JoinSet::new(),
            tasks,
        }
    }

    fn start(&mut self) {
        self.number = self.host.next_process();
        self.stop = Stop::default();
        self.host.tell(format!("process {} starts", self.number));
        let exporter = Exporter::new(self.config.clone(), self.lab.connector()).unwrap();
        let exporter = exporter.with_registry(self.host.registry()).with_hooks(self.host.clone());
        self.process.spawn(exporter.run_with(self.stop.clone()));
    }

    /// As a service manager would: what has ended is started again.
    fn supervise(&mut self) {
        while let Some(ended) = self.process.try_join_next() {
            self.exits += 1;
            self.host.tell(format!("process {} ended: {ended:?}", self.number));
            let reason = ended.expect("the exporter panicked").expect("the exporter gave up");
            let asked = self.stop.now.is_cancelled() || self.stop.after_lease.is_cancelled();
            match reason {
                ExitReason::Stopped => assert!(asked, "nobody asked it to stop"),
                ExitReason::LeaseEnded => assert!(self.config.exit_on_lease_end),
                ExitReason::HookFailed(text) => assert!(text.contains("on_failure=exit"), "{text}"),
            }
        }
        if self.process.is_empty() {
            self.start();
        }
    }

    async fn kill(&mut self) {
        self.host.tell(format!("process {} is killed", self.number));
        self.killed.push(self.number);
        self.process.shutdown().await;
    }

    fn visit(&mut self) {
        let Some(lease) = self.service.lease() else { return };
        let work = Duration::from_secs(self.rng.random_range(0..60));
        let ends = self.rng.random_bool(0.6);
        let (host, service, network) = (self.host.clone(), self.service.clone(), self.outside.clone());
        self.clients.spawn(visit(host, service, network, lease, work, ends));
    }

    fn lease(&mut self) {
        if self.service.grant().is_some() && self.rng.random_bool(0.8) {
            self.visit();
        }
    }

    async fn wild_step(&mut self) {
        match self.rng.random_range(0..20) {
            0..=4 => self.lease(),
            5..=7 => self.visit(),
            8 => self.clients.shutdown().await,
            9..=11 => self.service.end_lease(),
            12 => self.lab.cut(),
            13 => {
                self.host.tell("the network is down".to_owned());
                self.lab.set_up(false);
                self.lab.cut();
                sleep(Duration::from_secs(self.rng.random_range(1..90))).await;
                self.lab.set_up(true);
            }
            14 => {
                self.host.tell("the network is silent".to_owned());
                self.lab.fall_silent();
            }
            15 => self.service.restart(),
            16 => self.service.lose_reports(self.rng.random_range(1..4), self.rng.random_bool(0.5)),
            17 if self.rng.random_bool(0.4) => self.kill().await,
            18 if self.rng.random_bool(0.3) => self.stop.now.cancel(),
            19 if self.rng.random_bool(0.3) => self.stop.after_lease.cancel(),
            _ => {}
        }
        let pause = if self.rng.random_bool(0.1) { 400_000 } else { 8_000 };
        sleep(Duration::from_millis(self.rng.random_range(0..pause))).await;
        self.supervise();
    }

    async fn wait_for(&mut self, wanted: ExporterStatus) {
        let mut reports = self.service.reports();
        let settled = async {
            loop {
                let now = reports.borrow_and_update().clone();
                if now.is_some_and(|(status, _)| status == wanted) {
                    return;
                }
                tokio::select! {
                    _ = reports.changed() => {}
                    () = sleep(Duration::from_secs(1)) => self.supervise(),
                }
            }
        };
        let waited = timeout(CALM, settled).await;
        assert!(waited.is_ok(), "never {wanted:?}: {:?}", self.service.reports().borrow());
    }

    /// Nothing fails any more and the lease ends: the exporter is available, and serves another lease.
    async fn calm_down(&mut self) {
        self.host.tell("calm".to_owned());
        self.host.calm_down();
        self.service.lose_reports(0, true);
        self.lab.set_up(true);
        self.lab.cut();
        self.clients.shutdown().await;
        // An exporter that was asked to leave after its lease does so now.
        self.service.end_lease();
        sleep(CALM).await;
        self.supervise();
        self.service.end_lease();
        self.wait_for(ExporterStatus::Available).await;

        let lease = self.service.grant().expect("it is available and free");
        let (host, service, network) = (self.host.clone(), self.service.clone(), self.outside.clone());
        let seen = visit(host, service, network, lease, Duration::from_secs(3), true).await;
        assert_eq!(seen, Seen::Ready);
        self.service.end_lease();
        sleep(CALM).await;
        self.supervise();
        self.wait_for(ExporterStatus::Available).await;

        let before = self.service.unregistered();
        self.stop.now.cancel();
        let ended = timeout(CALM, self.process.join_next()).await.expect("it stops").unwrap();
        assert_eq!(ended.unwrap().unwrap(), ExitReason::Stopped);
        assert_eq!(self.service.unregistered(), before + 1);
        let last = self.service.reports().borrow().clone();
        assert_eq!(last.map(|(status, _)| status), Some(ExporterStatus::Offline));
    }

    fn check(&self) {
        for (number, tally) in self.host.sessions().iter().enumerate() {
            let killed = self.killed.contains(&tally.process);
            assert!(tally.before <= 1 && tally.after <= 1, "device {number}: {tally:?}");
            assert!(tally.closed == 1 || (killed && tally.closed == 0), "device {number}: {tally:?}");
            let torn_down = self.config.hooks.after_lease.is_none() || tally.after == 1 || killed;
            assert!(torn_down || !(tally.before_well || tally.ready), "no tear-down of device {number}: {tally:?}");
        }
    }
}

/// Shows the seed and the story when a scenario fails.
struct Story(u64, Host);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}:\n{}", self.0, self.1.story());
        }
    }
}

#[derive(Debug, Default)]
struct Sum {
    sessions: usize,
    ready: usize,
    hooks: u32,
    exits: u32,
    kills: usize,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.ready += other.ready;
        self.hooks += other.hooks;
        self.exits += other.exits;
        self.kills += other.kills;
    }
}

fn scenario(seed: u64, sum: &mut Sum) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        let _story = Story(seed, world.host.clone());
        world.start();
        for _ in 0..WILD {
            world.wild_step().await;
        }
        world.calm_down().await;
        world.check();
        world.tasks.shutdown().await;
        let sessions = world.host.sessions();
        sum.sessions += sessions.len();
        sum.ready += sessions.iter().filter(|tally| tally.ready).count();
        sum.hooks += sessions.iter().map(|tally| tally.before + tally.after).sum::<u32>();
        sum.exits += world.exits;
        sum.kills += world.killed.len();
    });
}

#[test]
fn after_any_story_the_exporter_serves_and_every_session_was_torn_down_once() {
    let only = std::env::var("JUMPSTARTER_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(0..SCENARIOS, |seed| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            scenario(seed, &mut sum);
        }
    };
    let sum = thread::scope(|scope| {
        let other = scope.spawn(worker);
        let mut sum = worker();
        sum.add(&other.join().unwrap());
        sum
    });
    // The scenarios are worth something.
    let worth = sum.ready > 400 && sum.hooks > 400 && sum.exits > 50 && sum.kills > 20;
    assert!(only.is_some() || worth, "{sum:?}");
    eprintln!("{sum:?}");
}
