//! A replica from start to end.

mod accepting;
mod candidacy;
mod start;

use std::{pin::Pin, time::Duration};

use anyhow::Context as _;
use jumpstarter_election::{Leader, Leadership};
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::{accepting::Accepting, candidacy::Candidacy};
use super::{
    ops::Ops,
    port::Port,
    settings::Settings,
    term::{Ground, Term},
};
use crate::{commands::termination, forward::Forwarder};

/// Longest that a new leader may take to read the lab. Then another replica gets its chance.
const BEGIN: Duration = Duration::from_secs(30);
/// How long a replica that could not lead leaves the lock to others.
const REST: Duration = Duration::from_secs(10);
/// How long a replica that ends wants nothing: longer than it lives.
const FOR_GOOD: Duration = Duration::from_hours(1);

/// A replica that takes connections.
struct Replica {
    ground: Ground,
    port: Port,
    forwarder: Forwarder,
    candidacy: Candidacy,
    leadership: watch::Receiver<Leadership>,
    ops: Ops,
    drain: Duration,
    /// Whether it was said that connections are served.
    announced: bool,
    /// What runs beside: health, metrics, the login service, the follower of the ConfigMap.
    beside: JoinSet<()>,
    stop_beside: CancellationToken,
}

/// Why a term is over.
enum Over {
    /// Another replica leads, or nobody.
    Lost,
    /// The process was told to stop.
    Stopped(&'static str),
    /// This replica cannot lead.
    Failed(anyhow::Error),
}

type Signal<'a> = Pin<&'a mut (dyn Future<Output = anyhow::Result<&'static str>> + Send)>;

/// Runs a replica until SIGINT or SIGTERM.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let stopped = termination();
    tokio::pin!(stopped);
    let replica = tokio::select! {
        // Whatever was started ends with the process.
        signal = &mut stopped => {
            info!(signal = signal?, "stopped while starting");
            return Ok(());
        }
        replica = start::start(settings) => replica?,
    };
    replica.run(stopped).await
}

impl Replica {
    async fn run(mut self, mut stopped: Signal<'_>) -> anyhow::Result<()> {
        let mut accepting = Some(Accepting::start(&self.forwarder, &self.port)?);
        self.ops.set_ready(true);
        let outcome = loop {
            let leadership = self.leadership.borrow_and_update().clone();
            let over = match leadership {
                Leadership::Leading { term } => self.lead(term, &mut accepting, stopped.as_mut()).await?,
                Leadership::Standby { leader } => self.stand_by(leader, stopped.as_mut()).await?,
            };
            match over {
                Over::Lost => {}
                Over::Stopped(signal) => {
                    info!(signal, "stopping");
                    break Ok(());
                }
                Over::Failed(error) if self.candidacy.is_contested() => {
                    error!(error = format!("{error:#}"), "this replica cannot lead, leaving it to another");
                    self.candidacy.step_down(REST).await;
                    self.ceased_to_lead().await;
                }
                Over::Failed(error) => break Err(error),
            }
        };
        self.finish(outcome).await
    }

    /// Passes connections on until something changes.
    async fn stand_by(&mut self, leader: Option<Leader>, stopped: Signal<'_>) -> anyhow::Result<Over> {
        let identity = leader.as_ref().map(|leader| leader.identity.as_str());
        let address = leader.as_ref().and_then(|leader| leader.address.clone());
        match (identity, &address) {
            (Some(leader), Some(address)) => info!(leader, address, "standing by"),
            (Some(leader), None) => info!(
                leader,
                "standing by; the leader says no address, so connections wait here until they are given up"
            ),
            (None, _) => info!("standing by; nobody leads"),
        }
        if address.is_some() {
            self.announce();
        }
        self.forwarder.aim(address);
        // `changed` is cancel safe, and a signal is waited for once in the life of the process.
        tokio::select! {
            changed = self.leadership.changed() => {
                changed.context("the election ended by itself")?;
                Ok(Over::Lost)
            }
            signal = stopped => Ok(Over::Stopped(signal?)),
        }
    }

    /// Serves for one term.
    async fn lead(
        &mut self,
        term: u64,
        accepting: &mut Option<Accepting>,
        mut stopped: Signal<'_>,
    ) -> anyhow::Result<Over> {
        // Whoever comes now waits: the leader before is gone, and this one is about to be there.
        self.forwarder.aim(None);
        info!(term, "taking the lead");
        let mut registry = Registry::default();
        let begun = tokio::select! {
            begun = timeout(BEGIN, Term::begin(&self.ground, &mut registry)) => begun,
            () = ceased(&mut self.leadership, term) => return Ok(Over::Lost),
            signal = stopped.as_mut() => return Ok(Over::Stopped(signal?)),
        };
        let mut serving = match begun {
            Ok(Ok(term)) => term,
            Ok(Err(error)) => return Ok(Over::Failed(error)),
            Err(_) => return Ok(Over::Failed(anyhow::anyhow!("the lab could not be read within {BEGIN:?}"))),
        };
        let listeners = self.port.listeners().context("serve the gRPC port")?;
        if let Some(accepting) = accepting.take() {
            accepting.stop().await;
        }
        serving.serve(&self.ground, listeners);
        // Those that waited go to this replica, like everybody.
        self.forwarder.aim(Some(self.port.local()));
        self.ops.set_term(Some(registry));
        info!(term, "leading");
        self.announce();
        let over = tokio::select! {
            () = ceased(&mut self.leadership, term) => Ok(Over::Lost),
            signal = stopped => signal.map(Over::Stopped),
            () = serving.failed() => Ok(Over::Failed(anyhow::anyhow!("the server of the gRPC port ended by itself"))),
        };
        serving.interrupt();
        self.forwarder.aim(None);
        *accepting = Some(Accepting::start(&self.forwarder, &self.port)?);
        serving.end().await;
        self.ops.set_term(None);
        info!(term, "leading no longer");
        over
    }

    /// Waits until this replica is no longer taken for the leader.
    async fn ceased_to_lead(&mut self) {
        // An ended election is noticed by whoever waits for the next change.
        let _ = self.leadership.wait_for(|leadership| !leadership.is_leading()).await;
    }

    /// Leaves the lead to another at once, and passes connections on for as long as some may still be sent here.
    async fn finish(mut self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        self.ops.set_ready(false);
        self.candidacy.step_down(FOR_GOOD).await;
        let passing_on = async {
            loop {
                let target = match &*self.leadership.borrow_and_update() {
                    Leadership::Standby { leader } => leader.as_ref().and_then(|leader| leader.address.clone()),
                    Leadership::Leading { .. } => None,
                };
                self.forwarder.aim(target);
                if self.leadership.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        if self.candidacy.is_contested() && outcome.is_ok() {
            // Its end is the purpose: nothing is lost by dropping it.
            let _ = timeout(self.drain, passing_on).await;
        }
        self.forwarder.shut_down().await;
        self.candidacy.leave().await;
        self.stop_beside.cancel();
        while self.beside.join_next().await.is_some() {}
        info!("stopped");
        outcome
    }

    fn announce(&mut self) {
        if !std::mem::replace(&mut self.announced, true) {
            let endpoint = &self.ground.config.endpoint;
            info!(listen = %self.port.address(), %endpoint, "jumpstarter is ready");
        }
    }
}

/// Waits until the term is over.
///
/// # Cancel safety
/// Cancel safe: it changes nothing.
async fn ceased(leadership: &mut watch::Receiver<Leadership>, term: u64) {
    // An election that ended leaves nobody to lead.
    let _ = leadership.wait_for(|leadership| *leadership != Leadership::Leading { term }).await;
}
