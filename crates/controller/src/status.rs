//! The one place where refusals become gRPC statuses (protocol.md §2.2, §10.2).
//!
//! Existing clients read texts as well as codes: re-login hangs on `token is expired`, a transferred lease is known by
//! `permission denied`, a retried dial by `not ready`.

use jumpstarter_store::StoreError;
use tonic::{Code, Status};
use tracing::{error, warn};

use crate::runtime::{EditError, Refusal};

/// Details longer than this on the wire may break a peer's header parser (protocol.md §10.3 row 16).
const MAX_DETAILS: usize = 4 * 1024;
const ELLIPSIS: char = '…';

/// A status whose text every peer can take.
pub(crate) fn status(code: Code, text: impl Into<String>) -> Status {
    let mut text: String = text.into();
    if text.chars().map(wire_length).sum::<usize>() > MAX_DETAILS {
        let mut left = MAX_DETAILS - wire_length(ELLIPSIS);
        let cut = text.char_indices().find(|(_, char)| {
            let fits = wire_length(*char) <= left;
            left = left.saturating_sub(wire_length(*char));
            !fits
        });
        text.truncate(cut.map_or(text.len(), |(at, _)| at));
        text.push(ELLIPSIS);
    }
    Status::new(code, text)
}

/// Bytes that a character takes as part of `grpc-message`, which is percent-encoded.
fn wire_length(char: char) -> usize {
    // More characters than these may be encoded; none takes more than three bytes for each of its own.
    if char.is_ascii_alphanumeric() || char == ' ' { 1 } else { 3 * char.len_utf8() }
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
                EditError::Exhausted(_) => Code::ResourceExhausted,
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
        for char in ["a", "ü", "%", "😀"] {
            let cut = status(Code::Internal, char.repeat(5000));
            let wire: usize = cut.message().chars().map(wire_length).sum();
            assert!((MAX_DETAILS - 16..=MAX_DETAILS).contains(&wire), "{char}: {wire}");
            assert!(cut.message().ends_with(ELLIPSIS));
            let short = char.repeat(MAX_DETAILS / 12);
            assert_eq!(status(Code::Internal, short.clone()).message(), short);
        }
    }

    #[test]
    fn exporters_are_asked_to_try_again_where_they_would_give_up() {
        let code = |error| refusal_to_exporter(&Refusal::Store(error)).code();
        assert_eq!(code(StoreError::Full("no space".into())), Code::Unavailable);
        assert_eq!(code(StoreError::Unavailable("later".into())), Code::Unavailable);
        assert_eq!(code(StoreError::Invalid("field".into())), Code::InvalidArgument);
    }

    #[test]
    fn an_owner_mismatch_keeps_the_words_that_old_clients_search_for() {
        let answer = refusal(&Refusal::Edit(EditError::PermissionDenied("lease `x` belongs to another".into())));
        assert_eq!(answer.code(), Code::PermissionDenied);
        assert!(answer.message().contains("permission denied"));
    }
}
