//! One command, one file.

mod admin;
pub(crate) mod backup;
pub(crate) mod controller;
pub(crate) mod crds;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod router;
pub(crate) mod serve;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT or SIGTERM.
///
/// # Cancel safety
/// Cancel safe, though a signal that arrives between two waits is lost; wait once.
pub(crate) async fn termination() -> anyhow::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

/// Prints a line that people and scripts wait for.
#[expect(clippy::print_stdout, reason = "the one place of this binary that prints results")]
pub(crate) fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    println!("{line}");
    // A closed pipe is no reason to stop serving.
    let _ = std::io::stdout().flush();
}
