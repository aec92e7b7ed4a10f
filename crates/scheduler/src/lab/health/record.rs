//! What an exporter's object says of its health, as far as decisions look at it.

use jumpstarter_model::{Exporter, HealthCheck, Timestamp, condition::exporter as condition};

use crate::{
    lab::names::Name,
    transition::{CHECK, LIFT_QUARANTINE, QUARANTINE, QUARANTINE_REASON},
};

/// Most bytes of an operator's reason that are repeated.
const MAX_REASON: usize = 500;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) score: i32,
    /// The automatic quarantine: until when, and which one in a row.
    pub(crate) automatic: Option<(Timestamp, i32)>,
    pub(crate) by_hand: Option<ByHand>,
    /// When the automatic quarantine before ended, and which one in a row it was.
    pub(crate) last: Option<(Timestamp, i32)>,
    pub(crate) check: Option<Check>,
    /// Requests of an operator that have not been heeded.
    pub(crate) lift: Option<String>,
    pub(crate) ask: Option<String>,
    /// What people are told, unless that is nothing or something that is over.
    pub(crate) told: Option<Told>,
}

/// An operator's quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByHand {
    /// Forever where there is no time.
    pub(crate) until: Option<Timestamp>,
    pub(crate) why: String,
}

/// Until when an exporter is kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    Until(Timestamp),
    /// Until somebody lifts it.
    UntilLifted,
}

/// A check, under way or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) lease: Name,
    pub(crate) passed: Option<bool>,
    /// Whether its lease is over and its tear-down is not.
    pub(crate) ending: bool,
}

/// The condition `Quarantined`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// False, since enough others are.
    Limited,
    Quarantined {
        reason: String,
        message: String,
    },
}

impl Record {
    /// `None` for an exporter with nothing to look at, as most are.
    pub(crate) fn of(exporter: &Exporter) -> Option<Box<Self>> {
        let mut record = Self::default();
        let annotation = |key| exporter.metadata.annotations.as_ref()?.get(key);
        if let Some(value) = annotation(QUARANTINE) {
            let why = annotation(QUARANTINE_REASON).map_or("", String::as_str);
            record.by_hand = ByHand::of(value, why);
        }
        let status = exporter.status.as_ref();
        let health = status.and_then(|status| status.health.as_ref());
        if let Some(health) = health {
            record.score = health.score;
            let time = |time: &Option<_>| {
                time.as_ref().map(|time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0)
            };
            // One without an end ends now: somebody else wrote it.
            record.automatic =
                health.quarantine.as_ref().map(|it| (time(&it.until).unwrap_or(Timestamp::MIN), it.times));
            record.last = health.last_quarantine.as_ref().and_then(|it| Some((time(&it.ended)?, it.times)));
            record.check = health.check.as_ref().map(|check: &HealthCheck| Check {
                lease: check.lease.as_str().into(),
                passed: check.passed,
                ending: health.session.as_ref().is_some_and(|it| it.ending && it.lease == check.lease),
            });
        }
        let fresh = |key, heeded: Option<&String>| annotation(key).filter(|value| Some(*value) != heeded).cloned();
        record.lift = fresh(LIFT_QUARANTINE, health.and_then(|health| health.lift_heeded.as_ref()));
        record.ask = fresh(CHECK, health.and_then(|health| health.check_heeded.as_ref()));
        record.told = status
            .and_then(|status| status.conditions.iter().find(|found| found.type_ == condition::QUARANTINED))
            .and_then(|found| match (found.status.as_str(), found.reason.as_str()) {
                ("True", reason) => {
                    Some(Told::Quarantined { reason: reason.to_owned(), message: found.message.clone() })
                }
                (_, condition::QUARANTINE_LIMITED) => Some(Told::Limited),
                _ => None,
            });
        (record != Self::default()).then(|| Box::new(record))
    }

    /// Why it is quarantined, in one word, if people are told that it is.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self.told.as_ref()? {
            Told::Quarantined { reason, .. } => Some(reason),
            Told::Limited => None,
        }
    }

    /// The operator's quarantine, unless that is known to be over.
    pub(crate) fn by_hand(&self, lapsed: Option<Timestamp>) -> Option<&ByHand> {
        self.by_hand.as_ref().filter(|hand| hand.until.is_none() || hand.until != lapsed)
    }

    /// Until when the exporter is kept back, if it is.
    pub(crate) fn kept(&self, lapsed: Option<Timestamp>) -> Option<Kept> {
        let by_hand = self.by_hand(lapsed).map(|hand| hand.until.map_or(Kept::UntilLifted, Kept::Until));
        by_hand.max(self.automatic.map(|(until, _)| Kept::Until(until)))
    }
}

impl Kept {
    /// The time, if there is one.
    pub(crate) fn until(self) -> Option<Timestamp> {
        match self {
            Self::Until(until) => Some(until),
            Self::UntilLifted => None,
        }
    }
}

impl ByHand {
    fn of(value: &str, why: &str) -> Option<Self> {
        let why = why[..why.floor_char_boundary(MAX_REASON)].trim();
        match value.trim() {
            "" | "false" => None,
            "true" => Some(Self { until: None, why: why.to_owned() }),
            // Whoever makes a mistake here wants the exporter kept back, not given out.
            value => Some(match value.parse::<Timestamp>() {
                Ok(until) => Self { until: Some(until), why: why.to_owned() },
                Err(_) => Self {
                    until: None,
                    why: format!("{why} (the annotation {QUARANTINE} is neither a time nor `true`)").trim().to_owned(),
                },
            }),
        }
    }
}
