//! The controller as one of several replicas on Kubernetes: the leader serves, standbys pass connections on to it.

mod address;
mod config;
mod connect;
mod ops;
mod port;
mod replica;
mod settings;
mod term;

pub(crate) use config::Misconfigured;
pub(crate) use replica::run;
pub(crate) use settings::ControllerArgs;
