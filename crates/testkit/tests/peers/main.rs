//! Real peers against the real service: the released Python packages, unmodified, and ours.
//!
//! Starting Python costs more than a second of processor time, so each test walks one lab through a story of
//! several steps. A failing test shows the logs of every process of its lab.
#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod bad_input;
mod cli_rust;
mod device;
mod drivers_rust;
mod failures;
mod hooks;
mod hooks_rust;
mod leases;
mod listings;
mod mixed;
mod oldest;
mod router_list;
mod routers;
mod sharing;
mod storage;
mod wire;
