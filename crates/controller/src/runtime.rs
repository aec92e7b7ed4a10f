//! The lab runtime: the one task that owns the scheduler core and writes the status of leases and exporters.
//!
//! Each pass takes what has come in (calls, watched changes, presence, time), commits it, asks the core what follows,
//! and commits that too, until nothing follows. Changes that touch different objects are committed side by side, so
//! that the store can group them; a change of an object that is already being written waits for the next round.
//! What the store refuses because it had changed meanwhile is read again and decided again.

mod actions;
pub(crate) mod edits;
mod inbox;
mod objects;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use jumpstarter_model::{Exporter, ExporterPhase, Timestamp};
use jumpstarter_scheduler::{Change, Lab, LabConfig};
use jumpstarter_store::{EventRecorder, Key, Kind, ResourceVersion, Store, StoreError, Write};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::inbox::{Answer, Command, Envelope};
pub(crate) use self::inbox::{EditError, LabHandle, Refusal};
use crate::{config::ControllerConfig, metrics::Metrics, presence::Presence, rendezvous::Rendezvous, world::World};

/// Calls that may wait for the runtime; more make the caller wait.
const INBOX: usize = 1024;
/// Inputs taken in one pass, so that a flood of calls does not keep decisions waiting.
const BATCH: usize = 256;
/// How often ended leases are looked through for removal, or as often as they are kept when that is shorter.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
const PRUNE_AT_MOST: Duration = Duration::from_secs(1);
/// Wait before the store is tried again when it does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// The kinds that the runtime watches.
const KINDS: [Kind; 4] = [Kind::Client, Kind::Exporter, Kind::ExporterAccessPolicy, Kind::Lease];

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
    /// Commands put off to the next round.
    backlog: VecDeque<Envelope>,
    /// Instants at which an exporter's presence changes by time alone.
    alarms: BinaryHeap<Reverse<(Instant, String)>>,
    /// The next alarm of each exporter; an alarm that comes early only costs a look.
    alarm_of: HashMap<String, Instant>,
    /// Exporters whose presence is to be compared with their conditions.
    look_at: HashSet<String>,
    /// Next instant at which the core wants to be asked.
    wake_at: Option<Timestamp>,
    prune_at: Instant,
    /// No decisions before this instant, since the store did not take the last ones.
    rest_until: Option<Instant>,
}

impl Runtime {
    /// A runtime over `store` and the handle by which others reach it.
    pub(crate) fn new(
        config: Arc<ControllerConfig>,
        store: Arc<dyn Store>,
        world: World,
        presence: Presence,
        rendezvous: Rendezvous,
        metrics: Metrics,
        events: Arc<dyn EventRecorder>,
    ) -> (Self, LabHandle) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let hook_limit = jiff::SignedDuration::try_from(config.hook_limit).unwrap_or(jiff::SignedDuration::MAX);
        let lab = Lab::new(LabConfig { hook_limit, ..LabConfig::default() });
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
            backlog: VecDeque::new(),
            alarms: BinaryHeap::new(),
            alarm_of: HashMap::new(),
            look_at: HashSet::new(),
            wake_at: None,
            prune_at: Instant::now(),
            rest_until: None,
        };
        (runtime, LabHandle::new(sender))
    }

    /// Loads the lab; afterwards the read model is complete.
    pub(crate) async fn load(&mut self) -> Result<ResourceVersion, StoreError> {
        let version = self.relist().await?;
        let exporters: Vec<Arc<Exporter>> = self.world.read().exporters.values().cloned().collect();
        for exporter in exporters {
            let Some(name) = exporter.metadata.name.as_deref() else {
                continue;
            };
            let status = exporter.status.as_ref();
            if status.is_some_and(|status| jumpstarter_model::condition::is_true(&status.conditions, "Online")) {
                self.presence.expect(name, self.config.limits.startup_grace);
            }
            // What the exporter said or was told before the restart still holds.
            match status.and_then(|status| status.exporter_status) {
                // Not its own word, but what the service makes of its absence.
                None | Some(ExporterPhase::Offline) => {}
                Some(phase) => self.presence.reported(name, phase),
            }
            if let Some(lease) = status.and_then(|status| status.lease_ref.as_ref()) {
                self.presence.told_leased(name, &lease.name);
            }
        }
        Ok(version)
    }

    /// Runs until `stop` fires.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped run may leave commits undone that callers wait for. Cancel `stop` instead.
    pub(crate) async fn run(mut self, from: ResourceVersion, stop: CancellationToken) {
        let mut version = from;
        while !stop.is_cancelled() {
            match self.store.watch(&KINDS, version).await {
                Ok(events) => self.serve(events, &stop).await,
                Err(error) => {
                    if !matches!(error, StoreError::Gone { .. }) {
                        warn!(%error, "the store cannot be watched, trying again");
                        tokio::time::sleep(STORE_RETRY).await;
                    }
                }
            }
            if stop.is_cancelled() {
                break;
            }
            match self.relist().await {
                Ok(listed) => version = listed,
                Err(error) => {
                    warn!(%error, "the store cannot be listed, trying again");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
        debug!("lab runtime stopped");
    }

    /// One watch's lifetime.
    async fn serve(&mut self, mut events: jumpstarter_store::EventStream, stop: &CancellationToken) {
        loop {
            let mut pending = Vec::new();
            let mut first = Vec::new();
            if self.backlog.is_empty() && self.look_at.is_empty() {
                let wake = self.next_wake();
                tokio::select! {
                    // `cancelled`, `recv_many`, `next` and `changed` are cancel safe; `sleep_until` keeps no state.
                    () = stop.cancelled() => return,
                    taken = self.inbox.recv_many(&mut pending, BATCH) => {
                        if taken == 0 {
                            return;
                        }
                    }
                    event = events.next() => match event {
                        Some(Ok(event)) => first.push(event),
                        Some(Err(error)) => {
                            debug!(%error, "watch ended");
                            return;
                        }
                        None => return,
                    },
                    () = self.presence.changed() => {}
                    () = sleep_until(wake) => {}
                }
            }
            let started = Instant::now();
            for event in first {
                self.absorb_event(event);
            }
            while let Some(Some(event)) = futures::FutureExt::now_or_never(events.next()) {
                match event {
                    Ok(event) => self.absorb_event(event),
                    Err(_) => break,
                }
            }
            while pending.len() < BATCH {
                match self.inbox.try_recv() {
                    Ok(command) => pending.push(command),
                    Err(_) => break,
                }
            }
            self.pass(pending).await;
            self.metrics.pass_seconds.observe(started.elapsed().as_secs_f64());
        }
    }

    /// The next instant at which time alone gives this task something to do.
    fn next_wake(&self) -> Instant {
        let mut next = self.prune_at;
        if let Some(Reverse((at, _))) = self.alarms.peek() {
            next = next.min(*at);
        }
        if let Some(at) = self.wake_at {
            let wait = at.duration_since(Timestamp::now());
            let wait = Duration::try_from(wait).unwrap_or_default();
            let wake = Instant::now() + wait.min(Duration::from_hours(1));
            next = next.min(self.rest_until.map_or(wake, |rest| rest.max(wake)));
        }
        next
    }

    async fn pass(&mut self, pending: Vec<Envelope>) {
        let mut commands: VecDeque<Envelope> = std::mem::take(&mut self.backlog);
        commands.extend(pending);
        self.note_presence(&mut commands);
        self.commit_commands(commands).await;
        self.carry_out_decisions().await;
        if Instant::now() >= self.prune_at {
            self.prune().await;
            self.rendezvous.sweep();
            self.world.lease_topics.sweep();
            self.world.exporter_topics.sweep();
            self.prune_at = Instant::now() + self.config.lease_retention.clamp(PRUNE_AT_MOST, PRUNE_EVERY);
        }
        self.set_gauges();
    }

    /// Turns changes of presence into edits of the Online condition.
    fn note_presence(&mut self, commands: &mut VecDeque<Envelope>) {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.alarms.peek()
            && *at <= now
        {
            if let Some(Reverse((at, name))) = self.alarms.pop() {
                if self.alarm_of.get(&name) == Some(&at) {
                    self.alarm_of.remove(&name);
                }
                self.look_at.insert(name);
            }
        }
        self.look_at.extend(self.presence.take_changed());
        for name in std::mem::take(&mut self.look_at) {
            let (sight, next) = self.presence.sight(&name);
            self.lab.observe(Change::TearDown { exporter: &name, pending: sight.owes_tear_down });
            if let Some(at) = next
                && self.alarm_of.get(&name).is_none_or(|known| at < *known)
            {
                self.alarm_of.insert(name.clone(), at);
                self.alarms.push(Reverse((at, name.clone())));
            }
            let Some(exporter) = self.world.exporter(&name) else {
                continue;
            };
            if sight.overdue && edits::assume_idle(&exporter).is_some() {
                warn!(exporter = %name, "the exporter never said that its last session is over: taken to be idle");
                commands.push_back(Envelope::internal(Command::edit_exporter(
                    &name,
                    Box::new(|exporter, _| Ok(edits::assume_idle(exporter))),
                )));
            }
            let said = self.presence.last_report(&name);
            if edits::online(&exporter, sight.online, said, Timestamp::now()).is_some() {
                commands.push_back(Envelope::internal(Command::edit_exporter(
                    &name,
                    Box::new(move |exporter, now| Ok(edits::online(exporter, sight.online, said, now))),
                )));
            }
        }
    }

    /// Commits commands, each object at most once a round.
    async fn commit_commands(&mut self, mut commands: VecDeque<Envelope>) {
        while !commands.is_empty() {
            let mut touched: HashSet<Key> = HashSet::new();
            let mut later = VecDeque::new();
            let mut jobs = Vec::new();
            for mut envelope in commands {
                let Some(key) = envelope.key(&self.config.namespace) else {
                    self.answer_query(envelope);
                    continue;
                };
                if touched.contains(&key) {
                    later.push_back(envelope);
                    continue;
                }
                let planned = self.plan(&mut envelope);
                match planned {
                    inbox::Plan::Done(answer) => envelope.answer(Ok(answer)),
                    inbox::Plan::Refused(refusal) => envelope.answer(Err(refusal)),
                    inbox::Plan::Write(writes) => {
                        touched.insert(key);
                        jobs.push((envelope, writes));
                    }
                }
            }
            let store = Arc::clone(&self.store);
            let results = join_all(jobs.into_iter().map(|(envelope, writes)| {
                let store = Arc::clone(&store);
                async move { (envelope, store.transact(writes).await) }
            }))
            .await;
            for (mut envelope, result) in results {
                match result {
                    Ok(objects) => {
                        let created = envelope.is_create();
                        for object in &objects {
                            self.absorb(object);
                        }
                        let answer = objects.into_iter().next_back();
                        if created && let Some(object) = &answer {
                            info!(lease = object.name(), "lease created");
                        }
                        envelope.answer(Ok(answer.map_or(Answer::Nothing, Answer::Object)));
                    }
                    Err(StoreError::Conflict { .. } | StoreError::NotFound(_) | StoreError::AlreadyExists(_))
                        if envelope.may_retry() =>
                    {
                        self.metrics.conflicts.inc();
                        if let Some(key) = envelope.key(&self.config.namespace) {
                            self.refresh(&key).await;
                        }
                        later.push_back(envelope);
                    }
                    Err(error) => envelope.answer(Err(Refusal::Store(error))),
                }
            }
            commands = later;
        }
    }

    fn plan(&self, envelope: &mut Envelope) -> inbox::Plan {
        envelope.plan(&self.world, &self.lab, Timestamp::now())
    }

    fn answer_query(&self, envelope: Envelope) {
        envelope.answer_query(&self.lab, Timestamp::now());
    }

    /// Removes leases that ended long ago.
    async fn prune(&mut self) {
        let now = Timestamp::now();
        let Ok(keep) = jiff::SignedDuration::try_from(self.config.lease_retention) else {
            return;
        };
        let old: Vec<String> = {
            let objects = self.world.read();
            objects
                .leases
                .iter()
                .filter(|(name, _)| !objects.active_leases.contains(*name))
                .filter(|(_, lease)| {
                    let end = lease.status.as_ref().and_then(|status| status.end_time.as_ref());
                    end.is_some_and(|end| now.duration_since(end.0) > keep)
                })
                .map(|(name, _)| name.clone())
                .take(BATCH)
                .collect()
        };
        for name in old {
            let key = Key::new(Kind::Lease, &self.config.namespace, &name);
            match self.store.transact(vec![Write::Delete(key, None)]).await {
                Ok(_) => {
                    self.forget_lease(&name);
                    debug!(lease = %name, "ended lease removed after its retention");
                }
                Err(error) => warn!(lease = %name, %error, "remove an ended lease"),
            }
        }
    }

    fn set_gauges(&self) {
        let objects = self.world.read();
        self.metrics.leases_active.set(i64::try_from(objects.active_leases.len()).unwrap_or(i64::MAX));
        self.metrics.leases_waiting.set(i64::try_from(objects.waiting_leases.len()).unwrap_or(i64::MAX));
        self.metrics.exporters_online.set(i64::try_from(self.presence.online_count()).unwrap_or(i64::MAX));
    }
}
