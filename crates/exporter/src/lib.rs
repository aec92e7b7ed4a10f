//! The exporter: lends the devices of a lab host to whoever holds the lease.
//!
//! [`Session`] serves drivers over any byte stream; [`Exporter`] keeps in touch with the controller, and
//! [`Standalone`] listens on a port instead. What to do when is decided by the pure [`LeaseMachine`].

mod backoff;
mod direct;
mod error;
mod hook;
mod lifecycle;
mod link;
mod runner;
mod session;

pub use direct::{DirectListener, Door};
pub use error::ExporterError;
pub use hook::{HookProgram, HookRunner};
pub use jumpstarter_tunnel::Connector;
pub use lifecycle::{Action, Assignment, Event, ExitReason, HookKind, LeaseMachine, Plan, SessionId, StopWhen};
pub use link::ControllerLink;
pub use runner::{Exporter, Standalone, StandaloneOptions, Stop};
pub use session::{LogRing, Session, SessionInfo};
