//! Looks at every step and says what must not be.
//!
//! It sees each commit at the moment at which it is made, what peers are told, and what sessions exporters have open. It
//! knows nothing of what the service thinks.

mod calendar;
mod end;
mod facts;
mod group;
mod health;
mod order;
mod promises;
mod quiet;
mod quota;
mod sessions;
mod spot;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;
use jumpstarter_model::{Exporter, Lease, Timestamp, condition::is_true};
use jumpstarter_store::{Event, Key, Kind, Object};
use tokio_util::sync::CancellationToken;

use self::{
    calendar::Calendar,
    facts::{ExporterFacts, LeaseFacts, OrderDoubt},
    group::Groups,
    health::Kept,
    promises::Asked,
    quota::Accounts,
    spot::Contest,
};
use crate::{clock::Time, dice::Dice, log::Log, plan::Plan, report::Violation, server::NAMESPACE, store::Commit};

/// More writes of one object in so short a time are a quarrel.
const STORM: Duration = Duration::from_secs(10);
const STORM_WRITES: u32 = 120;
/// Longest time after which something arrives that a leader has written before it was replaced.
const REPLACED: Duration = Duration::from_mins(2);
/// Time after which a call to the store that is never answered has been made again.
const HANGS: Duration = Duration::from_secs(75);

/// What is known of the whole lab.
pub(crate) struct Checker {
    time: Time,
    log: Log,
    plan: Plan,
    stop: CancellationToken,
    pub(crate) violation: Option<Violation>,
    leases: BTreeMap<String, LeaseFacts>,
    /// Those that have not ended, and of these the ones without an exporter.
    live: BTreeSet<String>,
    waiting: BTreeSet<String>,
    /// Leases that were to begin later, as long as they are kept.
    scheduled: BTreeSet<String>,
    /// For whom exporters are claimed, and since when.
    claims: BTreeMap<String, BTreeMap<String, Duration>>,
    exporters: BTreeMap<String, ExporterFacts>,
    /// Those that are free as far as the store says, and those that have sessions open.
    free: BTreeSet<String>,
    in_session: BTreeSet<String>,
    /// Labels that exporters have.
    kinds: BTreeMap<BTreeMap<String, String>, usize>,
    /// Labels of clients.
    teams: BTreeMap<String, String>,
    /// Who uses which exporter, as clients see it: client and lease.
    users: BTreeMap<String, (String, String)>,
    asked: Asked,
    spot: Contest,
    accounts: Accounts,
    calendar: Calendar,
    groups: Groups,
    doubts: Vec<OrderDoubt>,
    /// How often each object was written since when.
    written: BTreeMap<Key, (Duration, u32)>,
    /// Times since the begin. Something is wrong with the service or the store until then.
    trouble_until: Duration,
    /// When a process of the service was started last.
    service_since: Duration,
    /// Processes of the service that run.
    services: usize,
    /// Furthest that clocks of the service were behind and ahead, in milliseconds.
    clocks: (i64, i64),
    pub(crate) counts: Counts,
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changes of the store.
    pub commits: u64,
    /// Leases that were created.
    pub created: u64,
    /// Leases that got a device.
    pub granted: u64,
    /// Leases that have ended.
    pub ended: u64,
    /// Of these, leases that had to make way.
    pub preempted: u64,
    /// Leases that got the device that was reserved for them.
    pub reserved: u64,
    /// Groups all leases of which were ready.
    pub groups: u64,
    /// Exporters that the service has quarantined.
    pub quarantined: u64,
    /// Tunnels that were opened.
    pub tunnels: u64,
    /// Sessions that exporters opened.
    pub sessions: u64,
    /// Messages that came to the service or to peers.
    pub messages: u64,
    /// Faults that were brought about on purpose, single calls not counted.
    pub faults: u64,
}

impl Checker {
    pub(crate) fn new(time: Time, log: Log, plan: Plan, stop: CancellationToken) -> Self {
        Self {
            time,
            log,
            plan,
            stop,
            violation: None,
            leases: BTreeMap::new(),
            live: BTreeSet::new(),
            waiting: BTreeSet::new(),
            scheduled: BTreeSet::new(),
            claims: BTreeMap::new(),
            exporters: BTreeMap::new(),
            free: BTreeSet::new(),
            in_session: BTreeSet::new(),
            kinds: BTreeMap::new(),
            teams: BTreeMap::new(),
            users: BTreeMap::new(),
            asked: Asked::default(),
            spot: Contest::default(),
            accounts: Accounts::default(),
            calendar: Calendar::default(),
            groups: Groups::default(),
            doubts: Vec::new(),
            written: BTreeMap::new(),
            trouble_until: Duration::ZERO,
            service_since: Duration::ZERO,
            services: 0,
            clocks: (0, 0),
            counts: Counts::default(),
        }
    }

    fn at(&self) -> Duration {
        self.time.elapsed()
    }

    /// Notes what must not be; the first ends the run. `about`: names that explain it.
    pub(crate) fn violation(&mut self, kind: &'static str, text: String, about: &[&str]) {
        self.log.note(self.at(), format_args!("VIOLATION {kind}: {text}"));
        if self.violation.is_none() {
            let about = about.iter().map(|name| (*name).to_owned()).collect();
            self.violation = Some(Violation { kind, text, at: self.at(), about });
            self.stop.cancel();
        }
    }

    /// Something is done to the service or the store whose consequences may last so long.
    pub(crate) fn trouble(&mut self, lasts: Duration) {
        self.trouble_until = self.trouble_until.max(self.at() + lasts);
    }

    /// The number of service processes that run now.
    pub(crate) fn services(&mut self, running: usize) {
        if running > self.services || self.services > 1 {
            // What another one has told exporters is forgotten.
            self.service_since = self.at();
        }
        if running > self.services {
            self.trouble(Duration::from_secs(30));
        }
        self.services = running;
        self.trouble(Duration::from_secs(5));
    }

    /// A clock of the service shows so many milliseconds more than the true time.
    pub(crate) fn clock_set(&mut self, millis: i64) {
        self.clocks = (self.clocks.0.min(millis), self.clocks.1.max(millis));
        self.trouble(Duration::from_secs(70));
    }

    /// Whether the service has nothing to complain about.
    fn is_calm(&self) -> bool {
        self.services == 1 && self.at() > self.trouble_until
    }

    /// Whether a leader was replaced just now: each knows only what it has given out itself.
    fn is_replaced(&self) -> bool {
        self.plan.faults.rivals > 0 && self.at() < self.service_since + REPLACED
    }

    /// The earliest and the latest date that a clock of the service may show.
    fn dates(&self) -> (Timestamp, Timestamp) {
        let now = self.time.now();
        (now + SignedDuration::from_millis(self.clocks.0), now + SignedDuration::from_millis(self.clocks.1))
    }

    /// Calm seconds by which the service may be late beyond what is usual: a write that is never answered is given up
    /// after half a minute.
    fn patience(&self, usual: u32) -> u32 {
        if self.plan.faults.hangs > 0.0 { usual + 75 } else { usual }
    }

    /// Longest time in calm for which something that was decided is not stored.
    fn slack(&self) -> Duration {
        if self.plan.faults.hangs > 0.0 { HANGS } else { Duration::ZERO }
    }

    /// The label by which policies know a client.
    pub(crate) fn client_is(&mut self, client: &str, team: &str) {
        self.teams.insert(client.to_owned(), team.to_owned());
    }

    /// Some lease that has not ended.
    pub(crate) fn some_lease(&self, dice: &mut Dice) -> Option<String> {
        let last = u64::try_from(self.live.len()).ok()?.checked_sub(1)?;
        self.live.iter().nth(usize::try_from(dice.number(0..=last)).ok()?).cloned()
    }

    /// A commit, at the moment at which it is made.
    pub(crate) fn committed(&mut self, commit: &Commit) {
        self.counts.commits += 1;
        let object = commit.event.object();
        self.calmly(object.key());
        match (&commit.event, object.kind()) {
            (Event::Deleted(_), Kind::Lease) => self.lease_gone(object.name()),
            (_, Kind::Lease) => match object.decode::<Lease>() {
                Ok(lease) => self.lease_written(object, &lease),
                Err(error) => self.violation("readable", format!("{object:?}: {error}"), &[object.name()]),
            },
            (_, Kind::Exporter) => match object.decode::<Exporter>() {
                Ok(exporter) => self.exporter_written(object, &exporter),
                Err(error) => self.violation("readable", format!("{object:?}: {error}"), &[object.name()]),
            },
            (event, Kind::MaintenanceWindow) => self.window_written(object, matches!(event, Event::Deleted(_))),
            _ => {}
        }
    }

    /// Nobody writes one object over and over.
    fn calmly(&mut self, key: &Key) {
        let at = self.at();
        let (since, count) = self.written.entry(key.clone()).or_insert((at, 0));
        if at > *since + STORM {
            (*since, *count) = (at, 0);
        }
        *count += 1;
        if *count > STORM_WRITES {
            let text = format!("{key} was written {count} times within {:?}", at.saturating_sub(*since));
            self.violation("write-storm", text, &[&key.name]);
        }
    }

    fn lease_written(&mut self, object: &Object, lease: &Lease) {
        let name = object.name().to_owned();
        let at = self.at();
        let new = LeaseFacts::of(object, lease, at);
        let version = object.resource_version();
        let state = new.word();
        self.log
            .note(at, format_args!("commit {version}: lease {name} {state} on {:?} for {}", new.exporter, new.client));
        self.indexed(&name, Some(&new));
        let old = self.leases.insert(name.clone(), new);
        match &old {
            None => self.counts.created += 1,
            Some(old) => {
                if let Some(facts) = self.leases.get_mut(&name) {
                    facts.remember(old);
                }
            }
        }
        self.moved(&name, old.as_ref());
        self.reserved(&name, old.as_ref());
        self.in_group(&name, old.as_ref());
        self.noticed(&name, old.as_ref());
        self.held(&name, old.as_ref());
        self.ended(&name, old.as_ref(), lease);
        let exporter = self.leases.get(&name).and_then(|facts| facts.exporter.clone());
        let Some(exporter) = exporter else { return };
        if let Some(old) = old.filter(|old| old.exporter.is_some()) {
            return self.lengthened(&name, &old);
        }
        self.counts.granted += 1;
        self.on_terms(&name);
        if !self.leases.get(&name).is_some_and(|lease| lease.own) {
            self.within_caps(&name);
        }
        self.free_no_more(&exporter);
        let claimed = self.claims.get(&name).and_then(|claims| claims.get(&exporter)).copied().unwrap_or(at);
        self.ends_before_the_next(&name, claimed);
    }

    fn indexed(&mut self, name: &str, lease: Option<&LeaseFacts>) {
        let put = |index: &mut BTreeSet<String>, is: bool| {
            if is { index.insert(name.to_owned()) } else { index.remove(name) }
        };
        let live = lease.filter(|lease| !lease.ended);
        put(&mut self.live, live.is_some());
        put(&mut self.scheduled, lease.is_some_and(|lease| lease.spec.begin_time.is_some()));
        let waits = live.is_some_and(|lease| lease.exporter.is_none());
        let turned = put(&mut self.waiting, waits);
        let Some(client) = lease.or_else(|| self.leases.get(name)).map(|lease| &lease.client) else { return };
        self.accounts.owns(client, name, lease.is_some());
        if turned {
            self.accounts.waits(self.teams.get(client), waits);
        }
    }

    /// What a lease never does.
    fn moved(&mut self, name: &str, old: Option<&LeaseFacts>) {
        let (Some(old), Some(new)) = (old, self.leases.get(name)) else { return };
        let text = if old.ended && !new.ended {
            "has ended and lives again".to_owned()
        } else if old.exporter.is_some() && old.exporter != new.exporter {
            format!("moves from {:?} to {:?}", old.exporter, new.exporter)
        } else if old.begin.is_some() && old.begin != new.begin {
            format!("begins at {:?} and then at {:?}", old.begin, new.begin)
        } else if old.ended && old.end != new.end {
            format!("ends at {:?} and then at {:?}", old.end, new.end)
        } else if old.release && !new.release {
            "was released and is not any more".to_owned()
        } else {
            return;
        };
        self.violation("one-life", format!("lease {name} {text}"), &[name]);
    }

    /// No device has two holders.
    fn held(&mut self, name: &str, old: Option<&LeaseFacts>) {
        let Some(new) = self.leases.get(name) else { return };
        let was = old.and_then(LeaseFacts::holds).map(str::to_owned);
        let is = new.holds().map(str::to_owned);
        if was == is {
            return;
        }
        self.account(name, was.is_some(), is.is_some());
        if let Some(exporter) = was
            && let Some(facts) = self.exporters.get_mut(&exporter)
        {
            facts.holders.remove(name);
        }
        if let Some(exporter) = is {
            let facts = self.exporters.entry(exporter.clone()).or_default();
            facts.holders.insert(name.to_owned());
            let holders: Vec<String> = facts.holders.iter().cloned().collect();
            if holders.len() > 1 {
                let mut about: Vec<&str> = holders.iter().map(String::as_str).collect();
                about.push(&exporter);
                self.violation("two-holders", format!("exporter {exporter} is held by {holders:?}"), &about);
            }
        }
    }

    fn lease_gone(&mut self, name: &str) {
        let at = self.at();
        self.log.note(at, format_args!("commit: lease {name} gone"));
        self.written.remove(&Key::new(Kind::Lease, NAMESPACE, name));
        self.indexed(name, None);
        let Some(old) = self.leases.remove(name) else { return };
        self.reserved(name, Some(&old));
        self.left_group(name, &old);
        if !old.ended {
            self.forget_reasons();
        }
        if let Some(exporter) = old.holds()
            && let Some(facts) = self.exporters.get_mut(exporter)
        {
            facts.holders.remove(name);
            self.accounts.count(self.teams.get(&old.client), -1);
        }
        self.removed(name, &old);
    }

    fn exporter_written(&mut self, object: &Object, exporter: &Exporter) {
        let (name, at) = (object.name().to_owned(), self.at());
        let status = exporter.status.clone().unwrap_or_default();
        let claim = status.lease_ref.map(|claim| claim.name).filter(|claim| !claim.is_empty());
        let online = is_true(&status.conditions, "Online") && is_true(&status.conditions, "Registered");
        let phase = status.exporter_status.unwrap_or_default();
        let score = status.health.as_ref().map_or(0, |health| health.score);
        let version = object.resource_version();
        let calm = self.at().max(self.trouble_until);
        let (labels, next) = (object.labels(), self.kinds.len());
        let kind = self.kinds.get(&labels).copied().unwrap_or(next);
        if kind == next {
            self.kinds.insert(labels.clone(), kind);
        }
        let facts = self.exporters.entry(name.clone()).or_default();
        let was = facts.claim.clone();
        if facts.claim != claim || facts.online != online || facts.phase != phase {
            let link = if online { "online" } else { "offline" };
            let line =
                format_args!("commit {version}: exporter {name} {link} {phase:?} claimed for {claim:?}").to_string();
            self.log.note(at, format_args!("{line}"));
        }
        let kept = Kept::of(exporter);
        if facts.labels != labels || facts.enabled != exporter.is_enabled() || facts.kept != kept {
            facts.altered = at;
        }
        let kept_before = std::mem::replace(&mut facts.kept, kept);
        (facts.kind, facts.labels) = (kind, labels);
        facts.enabled = exporter.is_enabled();
        facts.claim.clone_from(&claim);
        facts.online = online;
        facts.registered = is_true(&status.conditions, "Registered");
        if facts.phase != phase {
            facts.phase = phase;
        }
        facts.phases.push_back((self.counts.commits, phase));
        if facts.phases.len() > 64 {
            facts.phases.pop_front();
        }
        let free = online && facts.enabled && !facts.kept.maybe() && claim.is_none() && facts.is_idle();
        facts.free_since = if free { facts.free_since.or(Some(calm)) } else { None };
        if free {
            self.free.insert(name.clone());
        } else {
            self.free.remove(&name);
        }
        self.health_written(&name, &kept_before, score);
        if claim == was {
            return;
        }
        if let Some(before) = was
            && let Some(claims) = self.claims.get_mut(&before)
        {
            claims.remove(&name);
            if claims.is_empty() {
                self.claims.remove(&before);
            }
        }
        if let Some(lease) = claim {
            self.claims.entry(lease.clone()).or_default().insert(name.clone(), at);
            self.claimed(&name, &lease);
        }
    }

    /// A device was claimed for a lease.
    fn claimed(&mut self, exporter: &str, lease: &str) {
        let adopted = self.leases.get(lease).is_some_and(|facts| facts.exporter.is_some());
        if adopted {
            return;
        }
        self.fits(exporter, lease);
        self.torn_down(exporter, lease);
        self.in_order(exporter, lease);
    }

    /// Once every simulated second.
    pub(crate) fn tick(&mut self) {
        self.ends_in_time();
        self.makes_way();
        self.keeps_caps();
        self.keeps_promises();
        self.goes_together();
        self.comes_back();
        self.waits_no_longer();
        self.resolve_doubts();
        self.tears_down_in_time();
    }
}
