//! The machine with a model of everything around it: a controller that may be cut off or restart, clients that come,
//! end, or die, hooks that fail or hang, status reports that get lost or arrive twice, in any order.
//!
//! However wild it was, once the world is calm the exporter is available or says exactly why not, and every session
//! was torn down once.
use std::collections::{BTreeMap, VecDeque};

use jumpstarter_config::OnFailure;
use jumpstarter_exporter::{Action, Assignment, Event, ExitReason, HookKind, LeaseMachine, Plan, SessionId, StopWhen};
use jumpstarter_protocol::v1::ExporterStatus;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Scenarios; each is another seed.
const SCENARIOS: u64 = 600;
/// Random steps of each before the world calms down.
const WILD: usize = 120;
/// Steps that suffice for a calm world to settle.
const CALM: usize = 400;

/// What the exporter's side has under way; time is the order in which these are taken.
#[derive(Debug, Clone, PartialEq)]
enum Work {
    Opening(SessionId),
    Hook(SessionId, HookKind),
    Lingering(SessionId),
    Closing(SessionId),
}

/// What was said last on a Status stream.
#[derive(Debug, Clone, Copy, Default)]
enum Said {
    #[default]
    Nothing,
    Free,
    Leased(u32),
}

/// What the controller knows.
#[derive(Debug, Default)]
struct Controller {
    /// Lease that holds the exporter.
    lease: Option<u32>,
    next_lease: u32,
    status: Option<(ExporterStatus, String)>,
    /// A Status stream is open, and this was said on it last.
    stream: bool,
    said: Said,
    unregistered: bool,
}

#[derive(Debug, Default)]
struct Tally {
    opened: u32,
    closed: u32,
    before: u32,
    after: u32,
    drivers_failed: bool,
    before_failed: bool,
    ready: bool,
}

struct World {
    rng: StdRng,
    plan: Plan,
    machine: LeaseMachine,
    controller: Controller,
    work: Vec<Work>,
    /// The report to be taken in, the lease to be given back: both are tried again until they are.
    report: Option<(ExporterStatus, String)>,
    release: Option<u32>,
    live: Option<SessionId>,
    exit: Option<ExitReason>,
    stopping: bool,
    tally: BTreeMap<SessionId, Tally>,
    events: VecDeque<Event>,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let failure = |rng: &mut StdRng| match rng.random_range(0..5) {
            0 => None,
            1 | 2 => Some(OnFailure::Warn),
            3 => Some(OnFailure::EndLease),
            _ => Some(OnFailure::Exit),
        };
        let (before, after) = (failure(&mut rng), failure(&mut rng));
        let plan = Plan { before, after, one_lease_only: rng.random_bool(0.1), ..Plan::default() };
        let report = Some((ExporterStatus::Available, String::new()));
        Self {
            rng,
            plan,
            machine: LeaseMachine::new(plan),
            controller: Controller::default(),
            work: Vec::new(),
            report,
            release: None,
            live: None,
            exit: None,
            stopping: false,
            tally: BTreeMap::new(),
            events: VecDeque::new(),
            trace: Vec::new(),
        }
    }

    fn lease_name(n: u32) -> String {
        format!("lease-{n}")
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            let actions = self.machine.handle(event.clone());
            self.trace.push(format!("{event:?} -> {} [{}]", super::words(&actions), self.machine.phase()));
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        assert!(self.exit.is_none(), "{action:?} after the exit");
        match action {
            Action::Open(id, _) => {
                assert_eq!(self.live, None, "two sessions");
                self.live = Some(id);
                self.tally.entry(id).or_default().opened += 1;
                self.work.push(Work::Opening(id));
            }
            Action::RunHook(id, kind, _) => {
                let tally = self.tally.get_mut(&id).unwrap();
                match kind {
                    HookKind::BeforeLease => tally.before += 1,
                    HookKind::Check => unreachable!("nobody checks here"),
                    HookKind::AfterLease => tally.after += 1,
                }
                self.work.push(Work::Hook(id, kind));
            }
            Action::CancelHook(_) | Action::StopListening => {}
            Action::Show(id, status, _) => {
                assert_eq!(self.live, Some(id));
                if status == ExporterStatus::LeaseReady {
                    self.tally.get_mut(&id).unwrap().ready = true;
                }
            }
            Action::Report(status, text) => {
                if status == ExporterStatus::Available {
                    assert_eq!(self.live, None, "available beside a session");
                }
                self.report = Some((status, text));
            }
            Action::Linger(id) => self.work.push(Work::Lingering(id)),
            Action::Close(id) => {
                self.work.retain(|work| *work != Work::Opening(id));
                self.work.push(Work::Closing(id));
            }
            Action::Release(lease) => self.release = lease.strip_prefix("lease-").and_then(|n| n.parse().ok()),
            Action::Exit(reason) => {
                assert_eq!(self.live, None, "left an open session behind");
                self.exit = Some(reason);
            }
        }
    }

    /// Ends one piece of work, well or badly.
    fn work(&mut self, wild: bool) {
        if self.work.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.work.len());
        let work = self.work.remove(at);
        let fails = wild && self.rng.random_bool(0.35);
        match work {
            Work::Opening(id) if fails => {
                self.tally.get_mut(&id).unwrap().drivers_failed = true;
                self.tally.get_mut(&id).unwrap().closed += 1;
                self.live = None;
                self.tell(Event::OpenFailed(id, "no device".to_owned()));
            }
            Work::Opening(id) => self.tell(Event::Opened(id)),
            Work::Hook(id, kind) => {
                // A hook that hangs ends by its limit, later than others; in the end it is one more failure.
                if kind == HookKind::BeforeLease && fails {
                    self.tally.get_mut(&id).unwrap().before_failed = true;
                }
                self.tell(Event::HookEnded(id, kind, fails.then(|| "Hook timed out after 9 seconds".to_owned())));
            }
            Work::Lingering(id) => self.tell(Event::Lingered(id)),
            Work::Closing(id) => {
                self.tally.get_mut(&id).unwrap().closed += 1;
                self.live = None;
                self.tell(Event::Closed(id));
            }
        }
    }

    /// The controller hears of one thing, if the network lets it.
    fn deliver(&mut self, wild: bool) {
        let (lost, twice) = (wild && self.rng.random_bool(0.3), wild && self.rng.random_bool(0.2));
        if let Some((status, text)) = self.report.clone()
            && !lost
        {
            self.trace.push(format!("controller takes {status:?}"));
            // As the real one: an exporter that says that it leaves loses its lease.
            if status == ExporterStatus::Offline {
                self.controller.lease = None;
            }
            self.controller.status = Some((status, text));
            if !twice {
                self.report = None;
            }
        }
        if let Some(lease) = self.release
            && !(wild && self.rng.random_bool(0.3))
        {
            if self.controller.lease == Some(lease) {
                self.trace.push("controller takes the lease back".to_owned());
                self.controller.lease = None;
            }
            self.release = None;
        }
    }

    /// The Status stream says what is, never one lease right after another.
    fn stream(&mut self) {
        let controller = &mut self.controller;
        if !controller.stream {
            controller.stream = true;
            controller.said = Said::Nothing;
        }
        let truth = controller.lease;
        let next = match (controller.said, truth) {
            (Said::Free, None) => return,
            (Said::Leased(said), Some(lease)) if said == lease => return,
            (Said::Leased(_), Some(_)) => None,
            (_, truth) => truth,
        };
        controller.said = next.map_or(Said::Free, Said::Leased);
        let wanted = next.map(|n| Assignment { lease: Self::lease_name(n), client: "alice".to_owned(), check: false });
        self.tell(Event::Assigned(wanted));
    }

    fn grant(&mut self) {
        let controller = &mut self.controller;
        let available = matches!(controller.status, Some((ExporterStatus::Available, _)));
        if available && controller.lease.is_none() {
            controller.lease = Some(controller.next_lease);
            controller.next_lease += 1;
            self.trace.push(format!("lease-{} granted", controller.next_lease - 1));
        }
    }

    fn wild_step(&mut self) {
        match self.rng.random_range(0..20) {
            0..=2 => self.grant(),
            3..=5 => self.stream(),
            6..=8 => self.deliver(true),
            9..=13 => self.work(true),
            // The client ends its session, asks for another one, or asks twice.
            14 | 15 => {
                if let Some(id) = self.live {
                    self.tell(Event::EndSession(id));
                }
            }
            16 => self.tell(Event::Dialled),
            // The lease is deleted, expires, or its client is dead and it expires then.
            17 => self.controller.lease = None,
            // The controller restarts, or the network is cut: the stream is gone and says everything anew.
            18 => self.controller.stream = false,
            _ => {
                if self.rng.random_bool(0.05) {
                    let when = if self.rng.random_bool(0.5) { StopWhen::Now } else { StopWhen::AfterLease };
                    self.stopping = true;
                    self.tell(Event::Stop(when));
                }
            }
        }
    }

    /// Nothing fails any more and every lease ends.
    fn calm_down(&mut self) {
        for _ in 0..CALM {
            if self.exit.is_some() {
                break;
            }
            self.controller.lease = None;
            self.stream();
            self.deliver(false);
            self.work(false);
        }
        if self.exit.is_some() {
            // Leaving says so, whatever was on its way.
            self.controller.status = Some((ExporterStatus::Offline, String::new()));
            self.controller.unregistered = true;
        }
    }

    fn check(&self) {
        assert_eq!(self.live, None, "a session is left");
        assert!(self.work.is_empty(), "work is left: {:?}", self.work);
        match &self.exit {
            None => {
                let (status, text) = self.controller.status.clone().unwrap();
                assert_eq!(status, ExporterStatus::Available, "{text}");
                assert_eq!(self.machine.phase(), "free");
                assert!(!self.stopping, "asked to stop, and still here");
            }
            Some(ExitReason::Stopped) => assert!(self.stopping),
            Some(ExitReason::LeaseEnded) => assert!(self.plan.one_lease_only),
            Some(ExitReason::HookFailed(text)) => {
                assert!(text.contains("on_failure=exit") && text.contains("timed out"), "{text}");
                assert!(self.plan.before == Some(OnFailure::Exit) || self.plan.after == Some(OnFailure::Exit));
            }
        }
        for (id, tally) in &self.tally {
            assert_eq!((tally.opened, tally.closed), (1, 1), "{id:?}: {tally:?}");
            assert!(tally.before <= 1 && tally.after <= 1, "{id:?}: {tally:?}");
            if self.plan.after.is_some() && tally.ready {
                assert_eq!(tally.after, 1, "clients worked, and no tear-down ran: {id:?}: {tally:?}");
            }
            if tally.drivers_failed
                || (tally.before_failed && !self.stopping && self.plan.before != Some(OnFailure::Warn))
            {
                assert_eq!(tally.after, 0, "a tear-down without a set-up: {id:?}: {tally:?}");
            }
        }
    }
}

/// Shows the seed and the story when a scenario fails.
struct Story<'a>(u64, &'a World);

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} with {:?}:\n{}", self.0, self.1.plan, self.1.trace.join("\n"));
        }
    }
}

#[test]
fn after_any_story_the_exporter_is_available_or_says_why_not() {
    let (mut sessions, mut exits, mut ready) = (0, 0, 0);
    for seed in 0..SCENARIOS {
        let mut world = World::new(seed);
        for _ in 0..WILD {
            if world.exit.is_none() {
                world.wild_step();
            }
        }
        world.calm_down();
        sessions += world.tally.len();
        exits += usize::from(world.exit.is_some());
        ready += world.tally.values().filter(|tally| tally.ready).count();
        let story = Story(seed, &world);
        story.1.check();
    }
    // The scenarios are worth something: they had sessions, of which many got ready, and some ended the exporter.
    assert!(sessions > 1000 && ready > 300 && exits > 50, "{sessions} sessions, {ready} ready, {exits} exits");
}
