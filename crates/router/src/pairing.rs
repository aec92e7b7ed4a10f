//! Which two halves belong together: a state machine without sockets or clocks.
//!
//! Invariants, whatever order things happen in:
//! - two halves are joined only if they name the same stream and are opposite sides of it (or both
//!   of no side);
//! - a half that was let in is either waiting, or joined once, or handed back once;
//! - a ticket lets in one half, one without a side two;
//! - a refused half changes nothing.

mod used;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use crate::ticket::opposite;
use crate::{Refusal, Side, StreamId};
use used::UsedTickets;

/// Limits of the waiting room, and how long a half stays in it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Halves that wait at once.
    pub waiting: usize,
    /// Halves of one connection that wait at once.
    pub waiting_per_connection: usize,
    /// Used tickets that are remembered.
    pub used_tickets: usize,
    /// How long a half waits.
    pub wait: std::time::Duration,
}

/// The place of a half in the waiting room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(u64);

/// A half at the door, its ticket verified.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The stream that it names.
    pub stream: StreamId,
    /// Its side, if its ticket says.
    pub side: Option<Side>,
    /// What makes its ticket unlike others.
    pub one_use_id: String,
    /// When its ticket is refused for its age, so that its use may be forgotten.
    pub ticket_ends: Instant,
    /// The connection that it came on, by the peer's address.
    pub connection: Option<SocketAddr>,
}

/// What became of an arrival.
#[derive(Debug, PartialEq, Eq)]
pub enum Placed<H> {
    /// First of its stream: it waits under this handle.
    Waiting(Place, H),
    /// Joined to the half that waited under this handle.
    Joined(H),
}

#[derive(Debug)]
struct Waiting<H> {
    place: Place,
    side: Option<Side>,
    connection: Option<SocketAddr>,
    until: Instant,
    handle: H,
}

/// The waiting room. `H` is what stands for a waiting half.
#[derive(Debug)]
pub struct Pairing<H> {
    limits: Limits,
    waiting: HashMap<StreamId, Waiting<H>>,
    by_end: BTreeMap<(Instant, Place), StreamId>,
    per_connection: HashMap<SocketAddr, usize>,
    used: UsedTickets,
    next_place: u64,
    closed: bool,
}

impl<H: Clone> Pairing<H> {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: HashMap::new(),
            by_end: BTreeMap::new(),
            per_connection: HashMap::new(),
            used: UsedTickets::new(limits.used_tickets),
            next_place: 0,
            closed: false,
        }
    }

    /// Joins `arrival` to its partner, or lets it wait under what `handle` makes (which may refuse).
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn arrive(
        &mut self,
        arrival: Arrival,
        now: Instant,
        handle: impl FnOnce() -> Result<H, Refusal>,
    ) -> Result<Placed<H>, Refusal> {
        if self.closed {
            return Err(Refusal::Draining);
        }
        let Arrival { stream, side, one_use_id, ticket_ends, connection } = arrival;
        self.used.forget_until(now);
        self.used.check(&one_use_id, side)?;
        if let Some(partner) = self.waiting.get(&stream) {
            match (partner.side, side) {
                (None, None) => {}
                (Some(theirs), Some(ours)) if theirs == opposite(ours) => {}
                (Some(_), Some(_)) => return Err(Refusal::SideTaken),
                (Some(_), None) | (None, Some(_)) => return Err(Refusal::SidesMixed),
            }
            let place = partner.place;
            self.used.record(&one_use_id, side, ticket_ends);
            let handle = self.leave(&stream, place).expect("it was just looked up");
            return Ok(Placed::Joined(handle));
        }
        if self.waiting.len() >= self.limits.waiting {
            return Err(Refusal::TooManyWaiting);
        }
        let beside = connection.and_then(|peer| self.per_connection.get(&peer)).copied().unwrap_or(0);
        if beside >= self.limits.waiting_per_connection {
            return Err(Refusal::TooManyWaitingOnConnection);
        }
        let handle = handle()?;
        self.used.record(&one_use_id, side, ticket_ends);
        let place = Place(self.next_place);
        self.next_place += 1;
        let until = now + self.limits.wait;
        if let Some(peer) = connection {
            *self.per_connection.entry(peer).or_default() += 1;
        }
        self.by_end.insert((until, place), stream.clone());
        self.waiting.insert(stream, Waiting { place, side, connection, until, handle: handle.clone() });
        Ok(Placed::Waiting(place, handle))
    }

    /// Takes the half at `place` out, if it still waits: if not, it was joined or handed back.
    pub fn leave(&mut self, stream: &StreamId, place: Place) -> Option<H> {
        if self.waiting.get(stream)?.place != place {
            return None;
        }
        let Waiting { place, side: _, connection, until, handle } = self.waiting.remove(stream)?;
        self.by_end.remove(&(until, place));
        if let Some(peer) = connection
            && let Some(count) = self.per_connection.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                self.per_connection.remove(&peer);
            }
        }
        Some(handle)
    }

    /// Takes out every half that has waited its time.
    #[must_use]
    pub fn lapse(&mut self, now: Instant) -> Vec<H> {
        let mut lapsed = Vec::new();
        while let Some(((until, place), stream)) = self.by_end.first_key_value() {
            if *until > now {
                break;
            }
            let (place, stream) = (*place, stream.clone());
            lapsed.extend(self.leave(&stream, place));
        }
        lapsed
    }

    /// Takes out every half and lets none in from now on.
    #[must_use]
    pub fn close(&mut self) -> Vec<H> {
        self.closed = true;
        self.by_end.clear();
        self.per_connection.clear();
        self.waiting.drain().map(|(_, half)| half.handle).collect()
    }

    /// Halves that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Used tickets that are remembered.
    #[must_use]
    pub fn used_tickets(&self) -> usize {
        self.used.len()
    }

    /// Whether [`Pairing::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests;
