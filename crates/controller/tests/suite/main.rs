//! The controller through its sockets: what peers of every kind see, and what they must never see.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

mod dialling;
mod presence;
mod readiness;
mod sessions;
mod support;
