//! Real peers against the real service: the released Python packages, unmodified, and ours.
//!
//! Starting Python costs more than a second of processor time, so each test walks one lab through a story of
//! several steps. A failing test shows the logs of every process of its lab.
#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod bad_input;
mod cli_rust;
mod device;
mod direct;
mod drivers;
mod examples;
mod failures;
mod groups;
mod hooks;
mod hooks_rust;
mod leases;
mod listings;
mod login_rust;
mod mine;
mod mixed;
mod oldest;
mod qemu;
mod quarantine;
mod reservations;
mod router_list;
mod routers;
mod sessions_rust;
mod sharing;
mod spot;
mod ssh;
mod storage;
mod terminals;
mod wire;
