//! `jumpstarter controller` and `jumpstarter router` as processes, against a real API server.

mod configuration;
mod entry;
mod handover;
mod keys;
mod kit;
mod outage;
mod rivals;
