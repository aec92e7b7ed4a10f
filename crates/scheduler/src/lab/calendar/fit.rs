//! Whether an exporter can be had at a time: the one question that all who give exporters out ask.

use jumpstarter_model::Timestamp;

use super::{Calendar, Lab, Name, Stay};
use crate::{
    Obstacle, SpokenFor,
    lab::{
        lease::Entry,
        times::later,
        want::{Kind, Want},
    },
};

impl Lab {
    /// Whether a waiting lease that gets an exporter now lets it go before anybody else has a claim on it.
    pub(in crate::lab) fn fits(&self, exporter: &str, entry: &Entry, now: Timestamp) -> bool {
        if !self.calendar.is_booked_up(exporter) {
            return true;
        }
        let stay = Stay { begin: now, end: entry.times.end(now) };
        self.is_open(exporter, stay, &entry.age.name, &entry.client)
    }

    /// When an exporter that is open for a waiting lease will not be any more, by time alone: the first instant.
    pub(in crate::lab) fn fits_no_more(&self, exporter: &str, entry: &Entry, now: Timestamp) -> Option<Timestamp> {
        let ever = Stay { begin: now, end: Timestamp::MAX };
        let obstacle = self.obstacle(exporter, ever, &entry.age.name, &entry.client)?;
        entry.times.ends_by(later(obstacle.begin, -self.calendar.turnaround))
    }

    /// The same for any of those who wait with a want and are alike, and get it at `at`.
    pub(in crate::lab) fn fits_kind(&self, exporter: &str, want: &Want, kind: &Kind, at: Timestamp) -> bool {
        if !self.calendar.is_booked_up(exporter) {
            return true;
        }
        let (client, span) = kind;
        let stay = Stay { begin: at, end: span.end(at) };
        let due = self.calendar.due(exporter, at).and_then(|lease| self.leases.get(lease));
        let own = due.filter(|entry| want.kinds.get(kind).is_some_and(|alike| alike.contains(&entry.age)));
        self.is_open(exporter, stay, own.map_or("", |entry| &entry.age.name), client)
    }

    /// Whether nothing is in the way of a stay.
    pub(in crate::lab) fn is_open(&self, exporter: &str, stay: Stay, lease: &str, client: &str) -> bool {
        let Some(agenda) = self.calendar.agendas.get(exporter) else { return true };
        self.calendar.reservation_in(exporter, stay, lease).is_none()
            && !agenda.windows.iter().any(|window| self.opening_in(window, stay, client).is_some())
    }

    /// What is in the way of a stay first.
    pub(in crate::lab) fn obstacle(&self, exporter: &str, stay: Stay, lease: &str, client: &str) -> Option<Obstacle> {
        let agenda = self.calendar.agendas.get(exporter)?;
        let reserved = self.calendar.reservation_in(exporter, stay, lease).map(|(stay, lease)| Obstacle {
            exporter: exporter.to_owned(),
            by: SpokenFor::Lease(lease.to_string()),
            begin: stay.begin,
            end: stay.end,
        });
        let windows = agenda.windows.iter().filter_map(|name| {
            let Stay { begin, end } = self.opening_in(name, stay, client)?;
            let reason = self.calendar.windows.get(name).map(|window| window.reason.clone()).unwrap_or_default();
            let by = SpokenFor::Window { name: name.to_string(), reason };
            Some(Obstacle { exporter: exporter.to_owned(), by, begin, end })
        });
        reserved.into_iter().chain(windows).min_by_key(|obstacle| obstacle.begin)
    }

    /// The first opening of a window that is in the way of a stay, tear-down included.
    pub(super) fn opening_in(&self, window: &Name, stay: Stay, client: &str) -> Option<Stay> {
        let window = self.calendar.windows.get(window)?;
        if window.admits(self.book.labels_of(client)) {
            return None;
        }
        let opening = window.overlap(Stay { end: later(stay.end, self.calendar.turnaround), ..stay })?;
        Some(Stay { begin: opening.begin, end: opening.end })
    }

    /// When an exporter that is free from `from` on can be had for a while: how that ends follows from when it begins.
    /// `None` when that is not within `tries` obstacles.
    pub(in crate::lab) fn opens_up(
        &self,
        exporter: &str,
        from: Timestamp,
        (lease, client): (&str, &str),
        tries: usize,
        end: impl Fn(Timestamp) -> Timestamp,
    ) -> Option<Timestamp> {
        let mut begin = from;
        for _ in 0..tries {
            let Some(obstacle) = self.obstacle(exporter, Stay { begin, end: end(begin) }, lease, client) else {
                return Some(begin);
            };
            let margin = match obstacle.by {
                SpokenFor::Lease(_) => self.calendar.turnaround,
                SpokenFor::Window { .. } => jiff::SignedDuration::ZERO,
            };
            let next = later(obstacle.end, margin);
            if next <= begin {
                return None;
            }
            begin = next;
        }
        None
    }
}

impl Calendar {
    /// How many reservations an exporter has ahead.
    pub(super) fn load(&self, exporter: &str) -> usize {
        self.agendas.get(exporter).map_or(0, |agenda| agenda.reservations.len())
    }
}
