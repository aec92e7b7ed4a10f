//! A whole lab in one process and one thread, on a simulated clock, network and store.
//!
//! The controller is the real one: its services are called through their codecs, without sockets. So are the scheduler,
//! the exporter's lease machine, the tokens and the tickets. Simulated are time, the network, the disk and the people.
//! A run depends on its [`Plan`] alone: the same plan gives the same log, line by line.
//! `docs/simulation.md` says what is checked.

mod checker;
mod clock;
mod dice;
mod faults;
mod lab;
mod log;
mod network;
mod peers;
mod plan;
mod policies;
mod quotas;
mod report;
mod router;
mod server;
pub mod store;
mod windows;

pub use checker::Counts;
pub use lab::run;
pub use plan::{Faults, Flaw, Plan};
pub use report::{Report, Violation};
