//! The lab host: devices and hooks that work, fail or hang, and the count of what was done to them.
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use jumpstarter_drivers::{Driver, DriverError, Registry};
use jumpstarter_exporter::{HookProgram, HookRunner};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;

/// Class of the one device, as a configuration names it.
pub(crate) const DEVICE: &str = "simulated.Device";

/// What was done in one session; the drivers that are built at the start count as one without hooks.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Which process of the exporter it was.
    pub(crate) process: u32,
    pub(crate) closed: u32,
    pub(crate) before: u32,
    pub(crate) before_well: bool,
    pub(crate) after: u32,
    /// A client saw that it may work.
    pub(crate) ready: bool,
}

/// How something goes.
enum Way {
    Well(Duration),
    Fails(Duration),
    Hangs,
}

#[derive(Clone)]
pub(crate) struct Host(Arc<Mutex<Inner>>);

struct Inner {
    rng: StdRng,
    calm: bool,
    process: u32,
    sessions: Vec<Tally>,
    trace: Vec<String>,
}

impl Host {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let inner = Inner { rng, calm: false, process: 0, sessions: Vec::new(), trace: Vec::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Nothing fails or hangs from now on.
    pub(crate) fn calm_down(&self) {
        self.inner().calm = true;
    }

    /// Another process of the exporter begins.
    pub(crate) fn next_process(&self) -> u32 {
        let mut inner = self.inner();
        inner.process += 1;
        inner.process
    }

    pub(crate) fn sessions(&self) -> Vec<Tally> {
        self.inner().sessions.clone()
    }

    /// A client may work in the session of now.
    pub(crate) fn seen_ready(&self) {
        if let Some(session) = self.inner().sessions.last_mut() {
            session.ready = true;
        }
    }

    pub(crate) fn tell(&self, text: String) {
        self.inner().trace.push(text);
    }

    pub(crate) fn story(&self) -> String {
        self.inner().trace.join("\n")
    }

    /// The driver classes of this host.
    pub(crate) fn registry(&self) -> Registry {
        let host = self.clone();
        let mut registry = Registry::builtin();
        registry.add(DEVICE, move |_| Ok(Arc::new(host.device())));
        registry
    }

    fn device(&self) -> Device {
        let mut inner = self.inner();
        let process = inner.process;
        if let Some(before) = inner.sessions.last().filter(|before| before.process == process) {
            assert_eq!(before.closed, 1, "a session over a session: {before:?}");
        }
        inner.sessions.push(Tally { process, ..Tally::default() });
        Device { host: self.clone(), number: inner.sessions.len() - 1 }
    }

    fn way(&self, hangs: f64) -> Way {
        let mut inner = self.inner();
        let calm = inner.calm;
        let time = Duration::from_millis(inner.rng.random_range(0..4000));
        match inner.rng.random::<f64>() {
            _ if calm => Way::Well(time),
            draw if draw < hangs => Way::Hangs,
            draw if draw < 3.0 * hangs => Way::Fails(time),
            _ => Way::Well(time),
        }
    }
}

/// The device of one session.
struct Device {
    host: Host,
    number: usize,
}

impl Device {
    async fn does(&self, what: &str) -> Result<(), DriverError> {
        self.host.tell(format!("device {}: {what}", self.number));
        match self.host.way(0.05) {
            Way::Well(time) => {
                sleep(time).await;
                Ok(())
            }
            Way::Fails(time) => {
                sleep(time).await;
                Err(DriverError::Other("no device".to_owned()))
            }
            Way::Hangs => std::future::pending().await,
        }
    }
}

impl Driver for Device {
    fn client(&self) -> &'static str {
        "simulated.DeviceClient"
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.does("reset").boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.host.inner().sessions[self.number].closed += 1;
        self.does("close").boxed()
    }
}

impl HookRunner for Host {
    fn run<'a>(&'a self, program: HookProgram<'a>) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let HookProgram { argv, environment, limit, cancel, line } = program;
            let kind = argv.last().unwrap().as_str();
            assert!(!environment["LEASE_NAME"].is_empty());
            let number = self.inner().sessions.len() - 1;
            let session = |change: &dyn Fn(&mut Tally)| change(&mut self.inner().sessions[number]);
            match kind {
                "before" => session(&|tally| tally.before += 1),
                "after" => session(&|tally| tally.after += 1),
                other => panic!("hook {other}"),
            }
            self.tell(format!("device {number}: hook {kind} of {}", environment["LEASE_NAME"]));
            line("a line of the hook");
            let work = async {
                match self.way(0.1) {
                    Way::Well(time) => {
                        sleep(time).await;
                        Ok(())
                    }
                    Way::Fails(time) => {
                        sleep(time).await;
                        Err("Hook failed with exit code 1".to_owned())
                    }
                    Way::Hangs => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = sleep(limit) => Err(format!("Hook timed out after {} seconds", limit.as_secs())),
                () = cancel.cancelled() => Err("Hook cancelled: the exporter stops".to_owned()),
            };
            if kind == "before" && outcome.is_ok() {
                session(&|tally| tally.before_well = true);
            }
            self.tell(format!("device {number}: hook {kind} ends: {outcome:?}"));
            outcome
        }
        .boxed()
    }
}
