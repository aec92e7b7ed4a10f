//! Commands of the other implementation that are no part of this program: each is refused and says what to use instead.
use std::ffi::OsString;

use clap::Args;

use crate::failure::Failure;

/// What stands behind such a command, so that it is told apart from a misspelt one.
#[derive(Args, Debug)]
pub(crate) struct Words {
    /// Not read.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// `jmp admin create|delete|get cluster`.
pub(crate) fn clusters() -> Failure {
    Failure::new(
        "this program does not make, list or delete Kubernetes clusters: use kind, minikube or k3s, then install the \
         service with `helm install`. `jumpstarter serve` runs a lab without Kubernetes",
    )
}

/// `jmp mcp serve`.
pub(crate) fn mcp() -> Failure {
    Failure::new(
        "this program is no MCP server: `jmp mcp serve` of the Python package jumpstarter-mcp reads the same client \
         configs and talks to the same service",
    )
}
