//! Carrying out what the lease machine decides: for a controller, or alone on a port.
mod exporter;
mod goodbye;
mod host;
mod listen;
mod register;
mod release;
mod reports;
mod serving;
mod standalone;
mod status;

use tokio_util::sync::CancellationToken;

pub use exporter::Exporter;
pub use standalone::{Standalone, StandaloneOptions};

/// How to ask a running exporter to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Stop now, ending the session of a running lease; its afterLease hook still runs.
    pub now: CancellationToken,
    /// Stop once no lease is being served.
    pub after_lease: CancellationToken,
}

impl Stop {
    /// Resolves when either way is asked for.
    pub(crate) async fn any(&self) {
        tokio::select! {
            // Tokens stay cancelled, so nothing is lost.
            () = self.now.cancelled() => {}
            () = self.after_lease.cancelled() => {}
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
