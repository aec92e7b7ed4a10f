//! The router under what goes wrong: any order of events, peers that misuse HTTP/2, networks that lose, delay and cut,
//! crowds, and processes that die.
//!
//! Routers whose memory, files or tasks are measured run in a process of their own ([`child`]).

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

#[path = "../lab/mod.rs"]
mod lab;

mod bounds;
mod child;
mod choices;
mod frames;
#[allow(unreachable_pub, reason = "shared with the fuzz targets, which are programs of their own")]
mod fuzzing;
mod leaks;
mod limits;
mod netns;
mod network;
mod schedule;
mod soak;
mod tickets;
mod wire;
