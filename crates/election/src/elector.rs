//! Runs a [`Machine`] against a cluster.

mod lock;

use std::{pin::pin, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, info, warn};

use self::lock::{CallError, Lock, Seen};
use crate::{Candidate, Leadership, Machine, Moment, Source, Step, Timing, WriteFailure};

/// What an elector needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the lock.
    pub namespace: String,
    /// Name of the lock: the Lease object.
    pub name: String,
    /// Who stands.
    pub candidate: Candidate,
    /// Periods.
    pub timing: Timing,
}

/// A candidate that takes part in the election. Dropping it leaves the lock as it is: others wait until it expires.
#[derive(Debug)]
pub struct Elector {
    leadership: watch::Receiver<Leadership>,
    orders: mpsc::Sender<Order>,
    task: JoinSet<()>,
    patience: Duration,
}

#[derive(Debug)]
enum Order {
    /// Let another go first.
    StepDown(Duration),
    /// Leave the election.
    Leave,
}

impl Elector {
    /// Begins to stand. Nothing that goes wrong ends it: trouble is logged and tried again.
    #[must_use]
    pub fn start(client: kube::Client, options: Options) -> Self {
        let Options { namespace, name, candidate, timing } = options;
        let machine = Machine::new(candidate, timing.clone());
        let (published, leadership) = watch::channel(Leadership::Standby { leader: None });
        // One who orders waits for room; there is never more than one or two.
        let (orders, received) = mpsc::channel(4);
        let mut task = JoinSet::new();
        // Leaving takes the call under way and at most one more.
        let patience = timing.call() * 2;
        let lock = Lock::new(client, namespace, name, timing.call());
        task.spawn(Campaign { machine, lock, published, trouble: false }.run(received));
        Self { leadership, orders, task, patience }
    }

    /// What this replica is, now and later. The channel ends with the election.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Gives up the lock and does not try for it for `rest`, so that another replica can do better.
    ///
    /// # Cancel safety
    /// Cancel safe: the order is given or it is not.
    pub async fn step_down(&self, rest: Duration) {
        // Fails only when the election is over.
        let _ = self.orders.send(Order::StepDown(rest)).await;
    }

    /// Leaves the election: frees the lock if it is ours, so that another takes over at once. Waits for the API server
    /// no longer than two calls may take.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping may leave the lock to expire.
    pub async fn leave(mut self) {
        let _ = self.orders.send(Order::Leave).await;
        let left = async { while self.task.join_next().await.is_some() {} };
        if tokio::time::timeout(self.patience, left).await.is_err() {
            warn!("the lock could not be released: others take over when it expires");
        }
    }
}

/// The task of an elector.
struct Campaign {
    machine: Machine,
    lock: Lock,
    published: watch::Sender<Leadership>,
    /// Whether the last call failed.
    trouble: bool,
}

/// A call under way.
struct Call {
    sent: Moment,
    kind: CallKind,
    outcome: BoxFuture<'static, Result<Option<Seen>, CallError>>,
}

#[derive(Clone, Copy)]
enum CallKind {
    Read,
    Write,
}

/// What made the loop go round.
enum Woken {
    Answer(Result<Option<Seen>, CallError>),
    Watched(Option<Seen>),
    Ordered(Order),
    Time,
}

impl Campaign {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let origin = Instant::now();
        let mut changes = pin!(self.lock.changes().fuse());
        let mut call: Option<Call> = None;
        loop {
            let now = origin.elapsed();
            self.publish(now);
            let mut wake = self.machine.leads_until(now);
            if call.is_none() {
                match self.machine.step(now, Timestamp::now()) {
                    Step::Done => return,
                    Step::Wait(until) => wake = Some(wake.map_or(until, |end| end.min(until))),
                    Step::Read => call = Some(Call::new(now, CallKind::Read, self.lock.read().boxed())),
                    Step::Create(record) => {
                        call = Some(Call::new(now, CallKind::Write, self.lock.create(&record).boxed()));
                    }
                    Step::Replace { version, record } => {
                        call = Some(Call::new(now, CallKind::Write, self.lock.replace(version, &record).boxed()));
                    }
                }
            }
            // Losing the race costs no arm anything: the call lives outside, streams and channels keep what comes, and
            // the time is computed anew.
            let woken = tokio::select! {
                outcome = answer(&mut call) => Woken::Answer(outcome),
                Some(seen) = changes.next() => Woken::Watched(seen),
                order = orders.recv() => match order {
                    Some(order) => Woken::Ordered(order),
                    // The elector was dropped; its task set ends us.
                    None => return,
                },
                () = sleep_until(origin, wake) => Woken::Time,
            };
            let now = origin.elapsed();
            match woken {
                Woken::Answer(outcome) => {
                    if let Some(Call { sent, kind, .. }) = call.take() {
                        self.take_answer(sent, now, kind, outcome);
                    }
                }
                Woken::Watched(seen) => self.take_change(now, seen),
                Woken::Ordered(Order::StepDown(rest)) => self.machine.resign(now, Some(rest)),
                Woken::Ordered(Order::Leave) => self.machine.resign(now, None),
                Woken::Time => {}
            }
        }
    }

    fn take_answer(&mut self, sent: Moment, now: Moment, kind: CallKind, outcome: Result<Option<Seen>, CallError>) {
        self.note(outcome.as_ref().err());
        let news = match (kind, &outcome) {
            (CallKind::Read, Ok(seen)) => {
                self.machine.observed(now, Source::Read, seen.as_ref().map(|seen| seen.sighting.clone()))
            }
            (CallKind::Read, Err(_)) => {
                self.machine.read_failed(now);
                false
            }
            (CallKind::Write, Ok(Some(seen))) => self.machine.wrote(sent, now, Ok(seen.sighting.clone())),
            (CallKind::Write, Ok(None) | Err(CallError::Conflict)) => {
                self.machine.wrote(sent, now, Err(WriteFailure::Conflict))
            }
            (CallKind::Write, Err(CallError::Late(_) | CallError::Refused(_))) => {
                self.machine.wrote(sent, now, Err(WriteFailure::Unknown))
            }
        };
        if news && let Ok(Some(seen)) = outcome {
            self.lock.keep(seen);
        }
    }

    fn take_change(&mut self, now: Moment, seen: Option<Seen>) {
        let sighting = seen.as_ref().map(|seen| seen.sighting.clone());
        if self.machine.observed(now, Source::Watch, sighting)
            && let Some(seen) = seen
        {
            self.lock.keep(seen);
        }
    }

    /// Tells others what changed, and the log when it matters.
    fn publish(&self, now: Moment) {
        let leadership = self.machine.leadership(now);
        self.published.send_if_modified(|published| {
            if *published == leadership {
                return false;
            }
            match (&*published, &leadership) {
                (_, Leadership::Leading { term }) => info!(term, "this replica leads"),
                (Leadership::Leading { .. }, Leadership::Standby { .. }) => info!("this replica leads no longer"),
                (Leadership::Standby { .. }, Leadership::Standby { leader: Some(leader) }) => {
                    info!(leader = leader.identity, address = leader.address, "another replica leads");
                }
                (Leadership::Standby { .. }, Leadership::Standby { leader: None }) => info!("nobody leads"),
            }
            *published = leadership;
            true
        });
    }

    /// Logs trouble when it begins and when it is over; a conflict is none.
    fn note(&mut self, error: Option<&CallError>) {
        match error {
            None | Some(CallError::Conflict) => {
                if std::mem::replace(&mut self.trouble, false) {
                    info!(lock = %self.lock, "the lock can be used again");
                }
            }
            Some(error) if self.trouble => debug!(lock = %self.lock, %error, "the lock still cannot be used"),
            Some(error) => {
                self.trouble = true;
                warn!(lock = %self.lock, %error, "the lock cannot be used, trying again");
            }
        }
    }
}

impl Call {
    fn new(sent: Moment, kind: CallKind, outcome: BoxFuture<'static, Result<Option<Seen>, CallError>>) -> Self {
        Self { sent, kind, outcome }
    }
}

/// The outcome of the call under way; never ready without one.
async fn answer(call: &mut Option<Call>) -> Result<Option<Seen>, CallError> {
    match call {
        Some(call) => (&mut call.outcome).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(origin: Instant, wake: Option<Moment>) {
    match wake.and_then(|wake| origin.checked_add(wake)) {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
