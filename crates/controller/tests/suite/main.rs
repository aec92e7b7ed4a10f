//! The controller through its sockets: what peers of every kind see, and what they must never see.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

mod bad_input;
mod contest;
mod creating;
mod credentials;
mod dialling;
mod direct;
mod explaining;
mod full_disk;
mod grouping;
mod interrupted;
mod keys;
mod listing;
mod preempting;
mod presence;
mod quarantine;
mod quotas;
mod readiness;
mod reserving;
mod routing;
mod sessions;
mod support;
mod timing;
mod updating;
mod watching;
