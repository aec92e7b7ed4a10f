//! `jumpstarter controller` and `jumpstarter router` as processes, against a real API server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod configuration;
mod entry;
mod handover;
mod keys;
mod kit;
mod outage;
mod rivals;
