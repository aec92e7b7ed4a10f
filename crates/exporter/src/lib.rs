//! The exporter: lends the devices of a lab host to whoever holds the lease.
//!
//! [`Session`] serves drivers over any byte stream; [`Exporter`] keeps in touch with the controller and opens
//! one session a lease. What to do when is decided by the pure [`LeaseMachine`].

mod backoff;
mod error;
mod lease;
mod link;
mod listen;
mod run;
mod session;

pub use error::ExporterError;
pub use jumpstarter_tunnel::Connector;
pub use lease::{Action, Assignment, Event, LeaseMachine, StopWhen};
pub use link::ControllerLink;
pub use run::{ExitReason, Exporter, Stop};
pub use session::{LogRing, Session, SessionInfo};
