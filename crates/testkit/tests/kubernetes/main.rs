//! The service on a real API server: released operator tools, replicas that die, an API server in trouble, labs that
//! move in. The scenarios of `tests/peers` run here too, when `JUMPSTARTER_TEST_ON=kubernetes`.
#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod admin;
mod cycle;
mod failover;
mod faults;
mod moving;
mod windows;
