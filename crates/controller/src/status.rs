//! The one place where refusals become gRPC statuses (protocol.md §2.2, §10.2).
//!
//! Existing clients read texts as well as codes: re-login hangs on `token is expired`, a transferred lease is known by
//! `permission denied`, a retried dial by `not ready`.

use jumpstarter_store::StoreError;
use tonic::{Code, Status};
use tracing::{error, warn};

use crate::runtime::{EditError, Refusal};

/// Details longer than this may break a peer's header parser.
const MAX_DETAILS: usize = 3 * 1024;

/// A status whose text every peer can take.
pub(crate) fn status(code: Code, text: impl Into<String>) -> Status {
    let mut text: String = text.into();
    if text.len() > MAX_DETAILS {
        let mut cut = MAX_DETAILS;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        text.push('…');
    }
    Status::new(code, text)
}

pub(crate) fn invalid(error: impl std::fmt::Display) -> Status {
    status(Code::InvalidArgument, error.to_string())
}

pub(crate) fn not_found(kind: &str, name: &str) -> Status {
    status(Code::NotFound, format!("{kind} `{name}` does not exist"))
}

/// Refuses a caller who is known but not allowed.
pub(crate) fn permission_denied(text: impl std::fmt::Display) -> Status {
    status(Code::PermissionDenied, format!("permission denied: {text}"))
}

/// The service is going away; peers try again soon.
pub(crate) fn stopping() -> Status {
    status(Code::Unavailable, "the service is restarting: try again in a moment")
}

pub(crate) fn refusal(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Stopping => stopping(),
        Refusal::Edit(error) => {
            let code = match error {
                EditError::NotFound(_) => Code::NotFound,
                EditError::AlreadyExists(_) => Code::AlreadyExists,
                EditError::PermissionDenied(_) => return permission_denied(error),
                EditError::Invalid(_) => Code::InvalidArgument,
                EditError::FailedPrecondition(_) => Code::FailedPrecondition,
            };
            status(code, error.to_string())
        }
        Refusal::Store(error) => store(error),
    }
}

/// The same for reports and releases of exporters, which drop what they had to say on any other answer to a store's
/// trouble than UNAVAILABLE.
pub(crate) fn refusal_to_exporter(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Store(StoreError::Conflict { .. } | StoreError::Full(_)) => {
            status(Code::Unavailable, refusal.to_string())
        }
        Refusal::Store(_) | Refusal::Edit(_) | Refusal::Stopping => self::refusal(refusal),
    }
}

pub(crate) fn store(error: &StoreError) -> Status {
    let code = match error {
        StoreError::NotFound(_) => Code::NotFound,
        StoreError::AlreadyExists(_) => Code::AlreadyExists,
        StoreError::Conflict { .. } => Code::Aborted,
        StoreError::Invalid(_) => Code::InvalidArgument,
        StoreError::Full(_) => Code::ResourceExhausted,
        StoreError::Gone { .. } | StoreError::Unavailable(_) => Code::Unavailable,
        StoreError::Corrupt(_) => Code::DataLoss,
    };
    match code {
        Code::DataLoss => error!(%error, "the store failed"),
        Code::Unavailable | Code::ResourceExhausted => warn!(%error, "the store failed"),
        _ => {}
    }
    status(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_are_cut_between_characters() {
        let cut = status(Code::Internal, "ü".repeat(4000));
        assert!(cut.message().len() <= MAX_DETAILS + '…'.len_utf8());
        assert!(cut.message().ends_with('…'));
    }

    #[test]
    fn an_owner_mismatch_keeps_the_words_that_old_clients_search_for() {
        let answer = refusal(&Refusal::Edit(EditError::PermissionDenied("lease `x` belongs to another".into())));
        assert_eq!(answer.code(), Code::PermissionDenied);
        assert!(answer.message().contains("permission denied"));
    }
}
