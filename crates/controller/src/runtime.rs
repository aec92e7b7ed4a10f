//! The lab runtime: the one task that owns the scheduler core and writes the status of leases and exporters.
//!
//! Each pass takes what has come in (calls, watched changes, presence, time, answers of the store), asks the core what
//! follows, and sends that to the store without waiting for it. Commits are under way side by side; what names an object
//! that is being written waits for that object and for nothing else. The core goes by what it decided until the outcome
//! is known; everybody else is told what the store has acknowledged, and only that. What the store refuses because it
//! had changed meanwhile is read again and decided again, also without waiting.

mod actions;
mod aside;
mod attend;
mod commands;
mod draft;
pub(crate) mod edits;
mod feed;
mod flights;
mod graves;
mod inbox;
mod jobs;
mod landing;
mod notices;
mod objects;
mod prune;
mod quarrels;
mod windows;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jumpstarter_model::{Exporter, ExporterPhase, Lease, Timestamp, condition};
use jumpstarter_scheduler::{Lab, LabConfig};
use jumpstarter_store::{EventRecorder, Key, ResourceVersion, Store, StoreError};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub(crate) use self::inbox::{EditError, LabHandle, Refusal};
use self::{
    aside::Aside,
    feed::News,
    flights::Flights,
    graves::Graves,
    inbox::Envelope,
    jobs::{Landing, Work},
};
use crate::{
    config::{ControllerConfig, QueueConfig},
    metrics::Metrics,
    presence::{Presence, Word},
    rendezvous::Rendezvous,
    world::{Objects, World},
};

/// Calls that may wait for the runtime; more make the caller wait.
const INBOX: usize = 1024;
/// Inputs of each kind taken in one pass, so that a flood of one does not keep the others waiting.
const BATCH: usize = 256;
/// Works that may wait for their objects before no more calls are taken and nothing more is decided. Decisions come on
/// top: the core has at most a few for each object.
const PARKED: usize = 1024;
/// Wait before the store is tried again when it does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// The same for the objects of one decision that was not stored, while others are.
const ONE_RETRY: Duration = Duration::from_millis(100);
/// Failures in a row after which all decisions rest.
const FAILURES: u32 = 3;

/// Whether the exporter has said that its session of this lease is over.
fn is_torn_down(exporter: &Exporter, lease: &Lease) -> bool {
    let of = exporter.status.as_ref().and_then(|status| status.torn_down.as_ref());
    of.is_some() && of == lease.metadata.uid.as_ref()
}

/// The task; see the module.
pub(crate) struct Runtime {
    config: Arc<ControllerConfig>,
    store: Arc<dyn Store>,
    world: World,
    presence: Presence,
    rendezvous: Rendezvous,
    metrics: Metrics,
    events: Arc<dyn EventRecorder>,
    lab: Lab,
    inbox: mpsc::Receiver<Envelope>,
    flights: Flights<Work>,
    jobs: FuturesUnordered<BoxFuture<'static, Landing>>,
    /// Objects of which nobody knows what a failed write has made of them.
    unread: HashSet<Key>,
    /// Versions of objects that are gone: what is older must not bring them back.
    graves: Graves,
    /// Objects that cannot be read, by the version that was reported.
    unreadable: BTreeMap<Key, ResourceVersion>,
    /// Leases that the store does not take, out of the core's sight for a while.
    aside: BTreeMap<String, Aside>,
    /// Instants at which an exporter's presence changes by time alone.
    alarms: BinaryHeap<Reverse<(Instant, String)>>,
    /// The next alarm of each exporter; an alarm that comes early only costs a look.
    alarm_of: HashMap<String, Instant>,
    /// When the Online condition of an exporter was corrected last, while that is a moment ago.
    corrected: attend::Corrections,
    quarrels: quarrels::Quarrels,
    /// Leases whose claims looked wrong, and when they were read again for that.
    looked_up: BTreeMap<String, Instant>,
    /// Exporters whose presence is to be compared with their conditions.
    look_at: BTreeSet<String>,
    /// Maintenance windows whose status does not say what it should.
    misjudged: BTreeSet<String>,
    /// Next instant at which the core wants to be asked.
    wake_at: Option<Timestamp>,
    prune: prune::Prune,
    /// Decisions in a row that could not be stored.
    failures: u32,
    /// No decisions before this instant, since the store did not take the last ones.
    rest_until: Option<Instant>,
    /// Fires when the runtime is to stop.
    stop: CancellationToken,
}

impl Runtime {
    /// A runtime over `store` and the handle by which others reach it.
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own; they are put together in one place")]
    pub(crate) fn new(
        config: Arc<ControllerConfig>,
        store: Arc<dyn Store>,
        world: World,
        presence: Presence,
        rendezvous: Rendezvous,
        metrics: Metrics,
        events: Arc<dyn EventRecorder>,
        stop: CancellationToken,
    ) -> (Self, LabHandle) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let signed = |span: Duration| jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX);
        let (hook_limit, preemption_grace) = (signed(config.hook_limit), signed(config.preemption_grace));
        let turnaround = signed(config.turnaround);
        let QueueConfig { longest_wait, share_half_life, max_waiting } = config.queue;
        let lab = Lab::new(LabConfig {
            hook_limit,
            preemption_grace,
            longest_wait: signed(longest_wait),
            share_half_life: signed(share_half_life),
            max_waiting,
            quarantine: config.quarantine.clone(),
            turnaround,
            ..LabConfig::default()
        });
        let runtime = Self {
            config,
            store,
            world,
            presence,
            rendezvous,
            metrics,
            events,
            lab,
            inbox,
            flights: Flights::new(),
            jobs: FuturesUnordered::new(),
            unread: HashSet::new(),
            graves: Graves::default(),
            unreadable: BTreeMap::new(),
            aside: BTreeMap::new(),
            alarms: BinaryHeap::new(),
            alarm_of: HashMap::new(),
            corrected: attend::Corrections::default(),
            quarrels: quarrels::Quarrels::default(),
            looked_up: BTreeMap::new(),
            look_at: BTreeSet::new(),
            misjudged: BTreeSet::new(),
            wake_at: None,
            prune: prune::Prune::new(),
            failures: 0,
            rest_until: None,
            stop,
        };
        (runtime, LabHandle::new(sender))
    }

    /// Loads the lab; afterwards the read model is complete.
    pub(crate) async fn load(&mut self) -> Result<ResourceVersion, StoreError> {
        let (lists, version) = feed::list_all(&*self.store, &self.config.namespace).await?;
        self.absorb_lists(&lists);
        let exporters: Vec<Arc<Exporter>> = self.world.read().exporters.values().cloned().collect();
        for exporter in exporters {
            let Some(name) = exporter.metadata.name.as_deref() else {
                continue;
            };
            let status = exporter.status.as_ref();
            if status.is_some_and(|status| condition::is_true(&status.conditions, "Online")) {
                self.presence.expect(name, self.config.limits.startup_grace);
            }
            // What the exporter was told or said before the restart still holds. It was told of a lease that names it;
            // one that does not was being assigned, and nobody was told.
            let claim = status.and_then(|status| status.lease_ref.as_ref());
            let lease = claim.and_then(|claim| self.world.lease(&claim.name));
            let lease = lease.filter(|lease| lease.assigned_exporter() == Some(name));
            if let Some(claim) = claim.filter(|_| lease.is_some()) {
                self.presence.told_leased(name, &claim.name, Word::EARLIER);
            }
            match status.and_then(|status| status.exporter_status) {
                // Not its own word, but what the service makes of its absence.
                None | Some(ExporterPhase::Offline) => {}
                // A lease can be ready, and its session open, before anything is heard of that: only of a session that is
                // known to be over this is the end.
                Some(phase @ ExporterPhase::Available)
                    if lease.is_some_and(|lease| !is_torn_down(&exporter, &lease)) =>
                {
                    self.presence.noticed(name, phase);
                }
                Some(phase) => self.presence.reported(name, phase, None),
            }
        }
        Ok(version)
    }

    /// Runs until told to stop, then waits for the commits under way: cut the store off to end that.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped run may leave commits undone that callers wait for.
    pub(crate) async fn run(mut self, from: ResourceVersion) {
        let mut news = feed::feed(Arc::clone(&self.store), self.config.namespace.clone(), from);
        let stop = self.stop.clone();
        let mut commands = Vec::with_capacity(BATCH);
        // What was loaded is looked at before anything happens.
        self.pass(&mut commands);
        while !stop.is_cancelled() {
            let wake = self.next_wake();
            let takes = self.flights.parked() < PARKED;
            tokio::select! {
                // All are cancel safe: `next` of both streams, `recv_many`, `cancelled`, `changed`; `sleep_until`
                // keeps no state. Calls come first, since what has landed and what is new are taken below anyway.
                biased;
                () = stop.cancelled() => break,
                taken = self.inbox.recv_many(&mut commands, BATCH), if takes => {
                    if taken == 0 {
                        break;
                    }
                }
                Some(landing) = self.jobs.next() => self.land(landing),
                Some(one) = news.next() => self.absorb_news(one),
                () = self.presence.changed() => {}
                () = sleep_until(wake) => {}
            }
            let started = Instant::now();
            for _ in 0..BATCH {
                let Some(Some(landing)) = self.jobs.next().now_or_never() else { break };
                self.land(landing);
            }
            for _ in 0..BATCH {
                let Some(Some(one)) = news.next().now_or_never() else { break };
                self.absorb_news(one);
            }
            self.pass(&mut commands);
            self.metrics.pass_seconds.observe(started.elapsed().as_secs_f64());
        }
        // Nobody new is answered; those whose commit is under way are.
        drop(std::mem::replace(&mut self.inbox, mpsc::channel(1).1));
        while let Some(landing) = self.jobs.next().await {
            self.land(landing);
        }
        debug!("lab runtime stopped");
    }

    fn absorb_news(&mut self, news: News) {
        match news {
            News::Event(event) => self.absorb_event(event),
            News::Listed(lists) => self.absorb_lists(&lists),
        }
    }

    /// The next instant at which time alone gives this task something to do.
    fn next_wake(&self) -> Instant {
        let mut next = self.prune.next();
        if let Some(Reverse((at, _))) = self.alarms.peek() {
            next = next.min(*at);
        }
        next = self.quarrels.next().map_or(next, |at| next.min(at));
        if let Some(rest) = self.rest_until {
            next = next.min(rest);
        } else if let Some(at) = self.wake_at {
            let wait = at.duration_since(self.config.clock.now());
            let wait = Duration::try_from(wait).unwrap_or_default();
            next = next.min(Instant::now() + wait.min(Duration::from_hours(1)));
        }
        next
    }

    /// Does all there is to do, without waiting for anything.
    fn pass(&mut self, commands: &mut Vec<Envelope>) {
        if self.rest_until.is_some_and(|rest| Instant::now() >= rest) {
            self.rest_until = None;
        }
        self.note_presence();
        self.look_at_quarrels();
        self.launch_parked();
        self.judge_windows();
        self.decide();
        for envelope in commands.drain(..) {
            self.take_command(envelope);
        }
        if Instant::now() >= self.prune.next() {
            self.tidy();
        }
        self.set_gauges();
    }

    /// Size of everything that grows and shrinks with the lab. What is kept of objects that are gone has a bound of its
    /// own.
    fn entries(&self, objects: &Objects) -> usize {
        let read = objects.clients.len() + objects.exporters.len() + objects.leases.len() + objects.policies.len();
        let indexed = objects.active_leases.len() + objects.waiting_leases.len();
        let looks = self.alarms.len() + self.alarm_of.len() + self.corrected.len() + self.look_at.len();
        let odd = self.unread.len()
            + self.unreadable.len()
            + self.aside.len()
            + self.flights.parked()
            + self.quarrels.entries()
            + self.looked_up.len();
        let topics = self.world.lease_topics.entries() + self.world.exporter_topics.entries();
        read + indexed + looks + odd + topics + self.lab.entries() + self.presence.entries() + self.rendezvous.entries()
    }

    fn set_gauges(&self) {
        let objects = self.world.read();
        self.metrics.leases_active.set(i64::try_from(objects.active_leases.len()).unwrap_or(i64::MAX));
        self.metrics.leases_waiting.set(i64::try_from(objects.waiting_leases.len()).unwrap_or(i64::MAX));
        self.metrics.exporters_online.set(i64::try_from(self.presence.online_count()).unwrap_or(i64::MAX));
        self.metrics.exporters_quarantined.set(i64::try_from(self.lab.quarantined()).unwrap_or(i64::MAX));
        self.metrics.table_entries.set(i64::try_from(self.entries(&objects)).unwrap_or(i64::MAX));
        self.metrics.objects_unreadable.set(i64::try_from(self.unreadable.len()).unwrap_or(i64::MAX));
    }
}
