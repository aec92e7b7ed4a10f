//! A controller over a store in a temporary directory, served on a real socket, and peers that speak to it.

pub(crate) mod client;
pub(crate) mod exporter;
pub(crate) mod lab;
pub(crate) mod router;
pub(crate) mod slow_store;
pub(crate) mod wait;

pub(crate) use self::{
    client::{FakeClient, for_exporter, wanted},
    exporter::{FakeExporter, StatusFeed},
    lab::{Identity, Lab},
    slow_store::{Faults, SlowStore},
    wait::{LIMIT, eventually, soon},
};
