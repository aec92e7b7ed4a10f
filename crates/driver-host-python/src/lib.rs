//! Runs the drivers that are written in Python, in a child process of the user's own Python.
//!
//! The child hosts every such driver of an exporter with jumpstarter's session server; [`PythonHost`] grafts its
//! instances into the exporter's tree, where they look like all others. It starts when a tree first needs it and is
//! kept for later sessions, each of which gets instances of its own. A child that died or hung is replaced for the
//! next session; calls of the current one then say so.

mod child;
mod driver;
mod graft;
mod host;
mod lines;
mod wire;

pub use host::{INTERPRETER, PythonHost};

use std::sync::Arc;

use jumpstarter_drivers::Registry;

/// Every built-in driver, and all others through the Python that the environment names.
#[must_use]
pub fn registry() -> Registry {
    Registry::builtin().with_host(Arc::new(PythonHost::from_env()))
}
