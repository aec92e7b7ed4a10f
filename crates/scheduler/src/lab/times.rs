//! When a lease begins and ends, and how long that is for a policy (kubernetes.md §4.5).

use jiff::SignedDuration;
use jumpstarter_model::{
    GoDuration, LeaseSpec, Timestamp,
    lease_time::{planned_end, saturating_add, whole_second},
};

/// How long a lease may hold its exporter, as far as that is known before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Span {
    /// So long.
    Fixed(GoDuration),
    /// Until then.
    Until(Timestamp),
    /// So long, beginning and ending at certain times.
    Between(GoDuration, Timestamp),
}

impl Span {
    /// How long that is for a lease that begins by `now`.
    pub(crate) fn requested(self, now: Timestamp) -> GoDuration {
        match self {
            Self::Fixed(duration) | Self::Between(duration, _) => duration,
            Self::Until(end) => GoDuration::between(whole_second(now), whole_second(end)).max(GoDuration::ZERO),
        }
    }

    /// When a lease ends that begins by `now`.
    pub(crate) fn end(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Fixed(duration) => whole_second(saturating_add(now, duration)),
            Self::Until(end) | Self::Between(_, end) => whole_second(end),
        }
    }
}

/// The times asked for.
#[derive(Clone, Debug)]
pub(crate) struct Times(Box<LeaseSpec>);

impl Times {
    pub(crate) fn of(spec: &LeaseSpec) -> Self {
        Self(Box::new(LeaseSpec {
            begin_time: spec.begin_time.clone(),
            end_time: spec.end_time.clone(),
            duration: spec.duration,
            ..LeaseSpec::default()
        }))
    }

    /// The begin asked for.
    pub(crate) fn begin(&self) -> Option<Timestamp> {
        self.0.begin_time.as_ref().map(|time| time.0)
    }

    /// The end of a lease that begins, or began, at `begin`.
    pub(crate) fn end(&self, begin: Timestamp) -> Timestamp {
        planned_end(&self.0, begin)
    }

    /// The end, where it is known before the lease begins.
    pub(crate) fn fixed_end(&self) -> Option<Timestamp> {
        (self.0.end_time.is_some() || self.0.begin_time.is_some()).then(|| planned_end(&self.0, Timestamp::MIN))
    }

    /// How long a lease that begins by `now` may hold its exporter. The end counts before the duration, as it does for
    /// the lease itself: a manifest with a short duration beside a late end asks for all of it.
    pub(crate) fn requested(&self, now: Timestamp) -> GoDuration {
        self.span().requested(now)
    }

    /// The same, for those who ask at several instants.
    pub(crate) fn span(&self) -> Span {
        match (&self.0.end_time, self.begin()) {
            (Some(end), None) => Span::Until(end.0),
            (Some(end), Some(begin)) => {
                let duration = GoDuration::between(whole_second(begin), whole_second(end.0)).max(GoDuration::ZERO);
                Span::Between(duration, end.0)
            }
            (None, Some(begin)) => {
                Span::Between(self.0.duration.unwrap_or(GoDuration::ZERO), planned_end(&self.0, begin))
            }
            (None, None) => Span::Fixed(self.0.duration.unwrap_or(GoDuration::ZERO)),
        }
    }

    /// The first instant from which on a lease that begins then ends later than `limit`; `None` when its end is fixed.
    pub(crate) fn ends_by(&self, limit: Timestamp) -> Option<Timestamp> {
        let Span::Fixed(duration) = self.span() else { return None };
        // Ends are whole seconds.
        Some(later(later(whole_second(limit), -duration.to_signed()), SignedDuration::from_secs(1)))
    }

    /// The instant from which on no more than `limit` is requested, where waiting shortens the lease.
    pub(crate) fn fits_from(&self, limit: GoDuration) -> Option<Timestamp> {
        let end = self.0.end_time.as_ref().filter(|_| self.0.begin_time.is_none())?;
        let from = later(whole_second(end.0), -limit.to_signed());
        // Requests are measured in whole seconds.
        let second = whole_second(from);
        Some(if second < from { later(second, SignedDuration::from_secs(1)) } else { second })
    }
}

/// `from + duration`, held within the range of timestamps.
pub(crate) fn later(from: Timestamp, duration: SignedDuration) -> Timestamp {
    from.checked_add(duration).unwrap_or(if duration.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}
