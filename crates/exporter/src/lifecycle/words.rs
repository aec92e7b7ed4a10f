//! The texts of status reports. Clients and scripts look for them, so they are those of the other exporter.
use jumpstarter_config::OnFailure;

use super::HookKind;

/// The lease can be used.
pub(super) const READY: &str = "Ready for commands";
/// Nobody holds the exporter.
pub(super) const AVAILABLE: &str = "Available for new lease";
/// Clients print what follows as a warning.
const WARNING: &str = "[HOOK_WARNING] ";

/// A hook runs.
pub(super) fn running(hook: HookKind) -> &'static str {
    match hook {
        HookKind::BeforeLease => "Running beforeLease hook",
        HookKind::Check => "Running check hook",
        HookKind::AfterLease => "Running afterLease hooks",
    }
}

/// A hook failed and the session goes on.
pub(super) fn warning(hook: HookKind, failure: &str) -> String {
    format!("{WARNING}{} hook warning: {failure}", hook.name())
}

/// A hook failed and nothing goes on.
pub(super) fn failed(hook: HookKind, on_failure: OnFailure, failure: &str) -> String {
    let consequence = match on_failure {
        OnFailure::Exit => "on_failure=exit, shutting down",
        OnFailure::EndLease | OnFailure::Warn => "on_failure=endLease",
    };
    format!("{} hook failed ({consequence}): {failure}", hook.name())
}

/// The exporter leaves because a hook failed.
pub(super) fn shutting_down(hook: HookKind) -> String {
    format!("Exporter shutting down due to {} hook failure", hook.name())
}
