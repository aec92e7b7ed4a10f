//! Decides who gets which device (kubernetes.md §4).
//!
//! Pure: observations and `now` go in, a value saying what to write comes out. There is no clock, no randomness, no
//! network and no database here; the runtime reads the world, calls [`Lab::observe`] and [`Lab::decide`], carries the
//! [`Action`]s out with the help of [`transition`], and calls again at [`Decisions::wake_at`].

mod action;
mod booking;
mod change;
mod config;
mod explain;
pub mod health;
mod lab;
pub mod transition;
mod usage;
mod why;

pub use action::{Action, Decisions, EndCause, LiftCause, QuarantineCause, RefusedAs};
pub use booking::{Clash, Obstacle, SpokenFor};
pub use change::Change;
pub use config::LabConfig;
pub use explain::{AccessError, Candidate, CandidateReason, Explanation, Grant, LeaseStanding, WaitingLimit};
pub use health::QuarantineConfig;
pub use lab::{Lab, tally};
pub use usage::{AccountUse, DeviceTimeUse, Objects, Share};
pub use why::{Ahead, Alternative, Forecast, MAX_AHEAD, WhatIf, Why};
