//! Where a dialling client and a listening exporter meet, without polling (protocol.md §4.7, §5.2).
//!
//! Offers belong to the lease, not to the Listen stream. Nobody confirms that one has arrived, and a broken connection
//! swallows what was written to it, so the next stream of the same lease is handed the latest ones again. An exporter
//! that had got one already then opens a stream with a used ticket, which its router refuses; nothing else happens.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jumpstarter_protocol::v1;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Offers that may wait for one exporter, as many as existing exporters buffer.
pub(crate) const MAX_OFFERS: usize = 8;
/// How long an offer may be handed out again: as long as a client waits for the other end of its connection.
const FRESH: Duration = Duration::from_secs(20);

/// One invitation to a router stream, for the exporter's side.
#[derive(Clone)]
pub(crate) struct Offer {
    /// Router address, `host:port`.
    pub(crate) endpoint: String,
    /// Ticket of the exporter's half; a secret.
    pub(crate) ticket: String,
    /// The same client may come without the router.
    pub(crate) direct: Option<v1::DirectInvitation>,
    /// After this instant the ticket is worthless and the offer is dropped.
    pub(crate) good_until: Instant,
}

/// Too many offers wait for this lease's exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the exporter has {MAX_OFFERS} connections waiting and takes no more: try again in a moment")]
pub(crate) struct Full;

/// A newer Listen stream took the lease over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superseded;

#[derive(Default)]
struct Slot {
    offers: VecDeque<Offer>,
    /// Handed out, and when; at most [`MAX_OFFERS`].
    given: VecDeque<(Instant, Offer)>,
    /// Generation of the stream that listens now.
    listener: Option<u64>,
    /// Where that exporter takes connections itself.
    announced: Option<Arc<v1::DirectListener>>,
    /// Wakes the listener (new offer, taken over) and the dials that wait for one.
    changed: Arc<Notify>,
    /// Dials that wait; keeps the slot alive.
    waiting: usize,
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.listener.is_none() && self.waiting == 0 && self.offers.is_empty() && self.given.is_empty()
    }

    fn drop_stale(&mut self, now: Instant) {
        self.given.retain(|(at, offer)| now < *at + FRESH && offer.good_until > now);
        self.offers.retain(|offer| offer.good_until > now);
    }

    /// Puts what may have been lost on the way back in front.
    fn take_back(&mut self, now: Instant) {
        self.drop_stale(now);
        while let Some((_, offer)) = self.given.pop_back() {
            self.offers.push_front(offer);
        }
    }
}

#[derive(Default)]
struct Slots {
    by_lease: HashMap<String, Slot>,
    generations: u64,
}

/// The meeting place of all leases.
#[derive(Clone, Default)]
pub(crate) struct Rendezvous {
    slots: Arc<Mutex<Slots>>,
}

impl Rendezvous {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Number of leases that something is known of.
    #[must_use]
    pub(crate) fn entries(&self) -> usize {
        self.lock().by_lease.len()
    }

    /// Starts listening for a lease; an earlier listener of the same lease is superseded.
    #[must_use]
    pub(crate) fn listen(&self, lease: &str, announced: Option<v1::DirectListener>) -> Listener {
        let mut slots = self.lock();
        slots.generations += 1;
        let generation = slots.generations;
        let slot = slots.by_lease.entry(lease.to_owned()).or_default();
        slot.listener = Some(generation);
        slot.announced = announced.map(Arc::new);
        slot.take_back(Instant::now());
        let changed = Arc::clone(&slot.changed);
        changed.notify_waiters();
        Listener { rendezvous: self.clone(), lease: lease.to_owned(), generation, changed }
    }

    /// Whether an exporter listens for this lease now.
    #[must_use]
    pub(crate) fn has_listener(&self, lease: &str) -> bool {
        self.lock().by_lease.get(lease).is_some_and(|slot| slot.listener.is_some())
    }

    /// Where the exporter that listens for this lease takes connections itself.
    #[must_use]
    pub(crate) fn announced(&self, lease: &str) -> Option<Arc<v1::DirectListener>> {
        self.lock().by_lease.get(lease)?.announced.clone()
    }

    /// Waits until an exporter listens for this lease; `false` when none came in time.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped wait leaves no trace.
    pub(crate) async fn wait_for_listener(&self, lease: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let changed = {
            let mut slots = self.lock();
            let slot = slots.by_lease.entry(lease.to_owned()).or_default();
            slot.waiting += 1;
            Arc::clone(&slot.changed)
        };
        let _waiting = Waiting { rendezvous: self, lease };
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.has_listener(lease) {
                return true;
            }
            if timeout_at(deadline, notified).await.is_err() {
                return self.has_listener(lease);
            }
        }
    }

    /// Hands an offer to the lease's exporter, now or when it listens next.
    pub(crate) fn offer(&self, lease: &str, offer: Offer) -> Result<(), Full> {
        let mut slots = self.lock();
        let slot = slots.by_lease.entry(lease.to_owned()).or_default();
        slot.drop_stale(Instant::now());
        if slot.offers.len() >= MAX_OFFERS {
            return Err(Full);
        }
        slot.offers.push_back(offer);
        slot.changed.notify_waiters();
        Ok(())
    }

    /// Forgets the offers of a lease that ended. A stream that still listens stays: exporters leave by themselves.
    pub(crate) fn close(&self, lease: &str) {
        let mut slots = self.lock();
        if let Some(slot) = slots.by_lease.get_mut(lease) {
            slot.offers.clear();
            slot.given.clear();
            if slot.is_idle() {
                slots.by_lease.remove(lease);
            }
        }
    }

    /// Forgets offers that nobody fetched in their time.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.lock().by_lease.retain(|_, slot| {
            slot.drop_stale(now);
            !slot.is_idle()
        });
    }

    fn forget_if_idle(slots: &mut Slots, lease: &str) {
        if slots.by_lease.get(lease).is_some_and(Slot::is_idle) {
            slots.by_lease.remove(lease);
        }
    }

    #[cfg(test)]
    fn slot_count(&self) -> usize {
        self.lock().by_lease.len()
    }
}

struct Waiting<'a> {
    rendezvous: &'a Rendezvous,
    lease: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut slots = self.rendezvous.lock();
        if let Some(slot) = slots.by_lease.get_mut(self.lease) {
            slot.waiting -= 1;
        }
        Rendezvous::forget_if_idle(&mut slots, self.lease);
    }
}

/// One exporter listening for the offers of one lease.
pub(crate) struct Listener {
    rendezvous: Rendezvous,
    lease: String,
    generation: u64,
    changed: Arc<Notify>,
}

impl Listener {
    /// The next offer.
    ///
    /// # Cancel safety
    /// Cancel safe: an offer is either returned or still queued.
    pub(crate) async fn next(&mut self) -> Result<Offer, Superseded> {
        loop {
            let changed = Arc::clone(&self.changed);
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let mut slots = self.rendezvous.lock();
                let slot = slots.by_lease.entry(self.lease.clone()).or_insert_with(|| Slot {
                    listener: Some(self.generation),
                    changed: Arc::clone(&self.changed),
                    ..Slot::default()
                });
                if slot.listener != Some(self.generation) {
                    return Err(Superseded);
                }
                let now = Instant::now();
                while let Some(offer) = slot.offers.pop_front() {
                    if offer.good_until > now {
                        if slot.given.len() == MAX_OFFERS {
                            slot.given.pop_front();
                        }
                        slot.given.push_back((now, offer.clone()));
                        return Ok(offer);
                    }
                }
            }
            notified.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut slots = self.rendezvous.lock();
        if let Some(slot) = slots.by_lease.get_mut(&self.lease) {
            if slot.listener == Some(self.generation) {
                slot.listener = None;
                slot.announced = None;
            } else {
                slot.changed.notify_waiters();
            }
        }
        Rendezvous::forget_if_idle(&mut slots, &self.lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(name: &str) -> Offer {
        Offer {
            endpoint: "router:1".to_owned(),
            ticket: name.to_owned(),
            direct: None,
            good_until: Instant::now() + Duration::from_mins(1),
        }
    }

    #[tokio::test]
    async fn an_offer_reaches_the_listener() {
        let meeting = Rendezvous::default();
        let mut listener = meeting.listen("l", None);
        meeting.offer("l", offer("a")).unwrap();
        assert_eq!(listener.next().await.unwrap().ticket, "a");
    }

    #[tokio::test]
    async fn an_offer_that_may_be_lost_goes_to_the_next_listener_in_order() {
        let meeting = Rendezvous::default();
        let mut first = meeting.listen("l", None);
        meeting.offer("l", offer("a")).unwrap();
        meeting.offer("l", offer("b")).unwrap();
        assert_eq!(first.next().await.unwrap().ticket, "a");
        drop(first);
        let mut second = meeting.listen("l", None);
        assert_eq!(second.next().await.unwrap().ticket, "a");
        assert_eq!(second.next().await.unwrap().ticket, "b");
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_is_not_repeated_when_nobody_waits_for_it_any_more() {
        let meeting = Rendezvous::default();
        let mut first = meeting.listen("l", None);
        meeting.offer("l", offer("a")).unwrap();
        first.next().await.unwrap();
        tokio::time::advance(FRESH).await;
        drop(first);
        let mut second = meeting.listen("l", None);
        assert!(tokio::time::timeout(Duration::from_millis(20), second.next()).await.is_err());
        drop(second);
        assert_eq!(meeting.slot_count(), 0);
    }

    #[tokio::test]
    async fn offers_of_a_lease_that_ended_are_gone() {
        let meeting = Rendezvous::default();
        let mut first = meeting.listen("l", None);
        meeting.offer("l", offer("a")).unwrap();
        first.next().await.unwrap();
        meeting.close("l");
        drop(first);
        assert_eq!(meeting.slot_count(), 0);
    }

    #[tokio::test]
    async fn what_an_exporter_announces_goes_with_its_stream() {
        let meeting = Rendezvous::default();
        let listener =
            |port: u16| v1::DirectListener { endpoints: vec![format!("lab:{port}")], ..v1::DirectListener::default() };
        let told = || meeting.announced("l").map(|found| found.endpoints[0].clone());
        let old = meeting.listen("l", Some(listener(1)));
        assert_eq!(told().as_deref(), Some("lab:1"));
        let new = meeting.listen("l", Some(listener(2)));
        drop(old);
        assert_eq!(told().as_deref(), Some("lab:2"));
        drop(new);
        assert_eq!(told(), None);
    }

    #[tokio::test]
    async fn a_newer_listener_takes_over() {
        let meeting = Rendezvous::default();
        let mut old = meeting.listen("l", None);
        let mut new = meeting.listen("l", None);
        meeting.offer("l", offer("a")).unwrap();
        assert_eq!(old.next().await.err(), Some(Superseded));
        assert_eq!(new.next().await.unwrap().ticket, "a");
    }

    #[tokio::test]
    async fn the_ninth_waiting_offer_is_refused() {
        let meeting = Rendezvous::default();
        for n in 0..MAX_OFFERS {
            meeting.offer("l", offer(&n.to_string())).unwrap();
        }
        assert_eq!(meeting.offer("l", offer("x")), Err(Full));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_waits_for_the_listener_and_no_longer_than_it_may() {
        let meeting = Rendezvous::default();
        let waiter = {
            let meeting = meeting.clone();
            async move { meeting.wait_for_listener("l", Duration::from_secs(12)).await }
        };
        let listen = {
            let meeting = meeting.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                meeting.listen("l", None)
            }
        };
        let (found, listener) = tokio::join!(waiter, listen);
        assert!(found);
        drop(listener);
        assert!(!meeting.wait_for_listener("l", Duration::from_secs(12)).await);
        assert_eq!(meeting.slot_count(), 0, "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn offers_that_nobody_fetches_do_not_stay() {
        let meeting = Rendezvous::default();
        meeting.offer("l", offer("old")).unwrap();
        meeting.sweep();
        assert_eq!(meeting.slot_count(), 1);
        tokio::time::advance(Duration::from_secs(61)).await;
        meeting.sweep();
        assert_eq!(meeting.slot_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_offer_is_dropped() {
        let meeting = Rendezvous::default();
        meeting.offer("l", offer("old")).unwrap();
        tokio::time::advance(Duration::from_secs(61)).await;
        meeting.offer("l", offer("new")).unwrap();
        assert_eq!(meeting.listen("l", None).next().await.unwrap().ticket, "new");
    }
}
