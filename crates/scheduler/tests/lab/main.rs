//! The scheduler against a lab on paper.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod assignment;
mod contests;
mod explain;
mod forecasts;
mod groups;
mod health;
mod in_flight;
mod kit;
mod lifecycle;
mod oracle;
mod order;
mod policies;
mod quotas;
mod readiness;
mod repairs;
mod reservations;
mod sequences;
mod shares;
mod spot;
mod transitions;
mod usage;
mod waiting;
mod wear;
mod why;
mod windows;
