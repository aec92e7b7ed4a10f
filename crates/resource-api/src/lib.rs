//! The resources over HTTP, in the shape of the Kubernetes API, and a Unix socket that only the operator may open.
//!
//! `jmp admin` and any kube client speak to an embedded store through this as they would speak to a cluster. What an
//! API server would check on admission is checked here; who may speak at all is a matter of the socket's permissions.
//!
//! Deliberately absent: users and roles, server-side apply with field ownership (an apply creates or merges: fields that
//! a later manifest leaves out stay), JSON patch, protobuf, `OpenAPI` documents (so `kubectl apply` wants
//! `--validate=false`; what it would check is checked here anyway), tables, bookmarks, dry runs.

mod admin;
mod body;
#[cfg(feature = "client")]
mod client;
mod discovery;
mod error;
mod list;
mod merge;
mod params;
mod route;
mod unix;
mod watch;
mod write;

#[cfg(feature = "client")]
pub use client::client;
pub use route::router;
pub use unix::{ServeError, serve_unix};
