//! What can go wrong for a client. The texts say what to do next.
use std::{io, time::Duration};

use jumpstarter_config::ConfigError;
use jumpstarter_tunnel::ConnectError;
use tonic::{Code, Status};

/// Why a client could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration lacks the endpoint or the token.
    #[error(
        "endpoint or token not set in client config '{0}': run `jmp login`, or create it with `jmp admin create client`"
    )]
    NotConfigured(String),
    /// A value of the configuration cannot be used.
    #[error("client config")]
    Config(#[source] ConfigError),
    /// A value of the configuration cannot be sent.
    #[error("client config: {0} has characters that cannot be sent; check it for line breaks")]
    Unsendable(&'static str),
    /// No connection to the controller or a router.
    #[error("connect to {endpoint}: {source}")]
    Connect {
        /// `host:port`.
        endpoint: String,
        /// What happened.
        source: ConnectError,
    },
    /// The controller said no.
    #[error("{action}: {}{}", describe(.status), hint(.status))]
    Controller {
        /// What was asked, verb and object.
        action: String,
        /// The answer.
        status: Box<Status>,
    },
    /// The lease cannot be used.
    #[error("{}", .problem)]
    Lease {
        /// Name of the lease.
        lease: String,
        /// What is wrong with it.
        problem: LeaseProblem,
    },
    /// No exporter within the time allowed.
    #[error("lease {lease} acquisition timed out after {} seconds: {waiting}", .after.as_secs())]
    AcquisitionTimeout {
        /// Name of the lease.
        lease: String,
        /// How long was waited.
        after: Duration,
        /// What it was still waiting for.
        waiting: String,
    },
    /// The lease was given to another client.
    #[error("Lease has been transferred to another client. Session is no longer valid.")]
    Transferred,
    /// The exporter cannot be reached through the service.
    #[error("exporter of lease {lease} is unreachable: {}", describe(.status))]
    Unreachable {
        /// Name of the lease.
        lease: String,
        /// Last answer.
        status: Box<Status>,
    },
    /// A call to the exporter failed.
    #[error("{call} failed with gRPC {:?}: {}", .status.code(), .status.message())]
    Exporter {
        /// What was called.
        call: String,
        /// The answer.
        status: Box<Status>,
    },
    /// The exporter has no driver of that name.
    #[error("no driver '{path}' on this exporter; it has: {known}")]
    NoDriver {
        /// Dotted path asked for.
        path: String,
        /// Dotted paths that exist.
        known: String,
    },
    /// An answer that makes no sense.
    #[error("{0} gave an answer that cannot be understood: {1}")]
    Protocol(&'static str, String),
    /// A file of this machine that a driver was to read or fill.
    #[error("{action}: {source}{}", full_disk(.source))]
    File {
        /// What was done, verb and object.
        action: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A file did not get through whole; what the receiver has of it must not be used.
    #[error("the transfer is incomplete: {0}; what has arrived is not usable, run it again")]
    Incomplete(String),
    /// The receiver has other bytes than the sender.
    #[error("'{path}' is damaged: its SHA-256 is {found}, but {expected} was transferred; run it again")]
    Mismatch {
        /// The file on the exporter.
        path: String,
        /// Of what went through.
        expected: String,
        /// Of what the exporter's storage has.
        found: String,
    },
    /// The local socket could not be set up.
    #[error("local socket: {0}")]
    Local(#[source] io::Error),
}

/// Why a lease will never hold an exporter (again).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseProblem {
    /// Nothing can ever satisfy it.
    #[error("the lease cannot be satisfied: {0}")]
    Unsatisfiable(String),
    /// The request makes no sense.
    #[error("the lease is invalid: {0}")]
    Invalid(String),
    /// It is over.
    #[error("the lease has ended: {0}")]
    Ended(String),
    /// Another client holds it.
    #[error("lease belongs to client '{owner}', not the current client '{me}'")]
    NotMine {
        /// Its owner.
        owner: String,
        /// This client.
        me: String,
    },
}

fn full_disk(err: &io::Error) -> &'static str {
    match err.kind() {
        io::ErrorKind::StorageFull => "; make room on this machine's disk and run it again",
        _ => "",
    }
}

fn describe(status: &Status) -> String {
    match status.code() {
        Code::Unknown => format!("grpc controller responded: {}", status.message()),
        code => format!("grpc error: {} ({code:?})", status.message()),
    }
}

fn hint(status: &Status) -> &'static str {
    match status.code() {
        Code::Unauthenticated => "; log in again with `jmp login`",
        Code::PermissionDenied => "; check which client you are with `jmp config client list`",
        Code::Unavailable => "; check that the service runs and the endpoint is right",
        _ => "",
    }
}
