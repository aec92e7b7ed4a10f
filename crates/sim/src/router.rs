//! Where the two halves of a dial meet. Real routers are tested elsewhere; here it matters who meets whom.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jumpstarter_auth::{Side, TicketVerifier};
use jumpstarter_model::Timestamp;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long a half waits for the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// An exporter's session as a tunnel reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The exporter.
    pub(crate) exporter: String,
    /// The lease that its session is of.
    pub(crate) lease: String,
    /// Fires when the session closes.
    pub(crate) closed: CancellationToken,
}

enum Half {
    Client(oneshot::Sender<Served>),
    Exporter(Served),
}

/// The one router of the lab.
#[derive(Clone)]
pub(crate) struct Router {
    tickets: TicketVerifier,
    halves: Arc<Mutex<BTreeMap<String, Half>>>,
}

impl Router {
    pub(crate) fn new(tickets: TicketVerifier) -> Self {
        Self { tickets, halves: Arc::default() }
    }

    fn stream(&self, ticket: &str, side: Side, now: Timestamp) -> Option<String> {
        let ticket = self.tickets.verify(ticket, now).ok()?;
        (ticket.side == Some(side)).then_some(ticket.stream_id)
    }

    /// The client's half: the session at the other end, if its half comes in time.
    pub(crate) async fn dial(&self, ticket: &str, now: Timestamp) -> Option<Served> {
        let stream = self.stream(ticket, Side::Client, now)?;
        let (meet, met) = oneshot::channel();
        {
            let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
            match halves.remove(&stream) {
                Some(Half::Exporter(served)) => return Some(served),
                Some(half @ Half::Client(_)) => {
                    halves.insert(stream, half);
                    return None;
                }
                None => _ = halves.insert(stream.clone(), Half::Client(meet)),
            }
        }
        let served = timeout(PATIENCE, met).await.ok().and_then(Result::ok);
        self.halves.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream);
        served
    }

    /// The exporter's half; it is served at once or when the client comes. Returns whether the ticket was good.
    pub(crate) fn serve(&self, ticket: &str, served: Served, now: Timestamp) -> bool {
        let Some(stream) = self.stream(ticket, Side::Exporter, now) else { return false };
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        match halves.remove(&stream) {
            Some(Half::Client(meet)) => _ = meet.send(served),
            _ => _ = halves.insert(stream, Half::Exporter(served)),
        }
        true
    }

    /// Forgets the halves of sessions that are closed. Returns how many wait.
    pub(crate) fn sweep(&self) -> usize {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.retain(|_, half| match half {
            Half::Client(meet) => !meet.is_closed(),
            Half::Exporter(served) => !served.closed.is_cancelled(),
        });
        halves.len()
    }
}
