//! What an exporter's file may hold.
use crate::check::{Keys, Kind, METADATA, TLS};

/// The whole file.
pub(super) const TOP: Keys = Keys {
    known: &[
        ("apiVersion", Kind::OneOf(&["jumpstarter.dev/v1alpha1"])),
        ("kind", Kind::OneOf(&["ExporterConfig"])),
        ("metadata", Kind::Keys(&METADATA)),
        ("endpoint", Kind::TextOrNull),
        ("tls", Kind::Keys(&TLS)),
        ("token", Kind::TextOrNull),
        ("grpcOptions", Kind::MapOrNull),
        ("description", Kind::TextOrNull),
        ("motd", Kind::TextOrNull),
        ("export", Kind::Drivers),
        ("hooks", Kind::Keys(&HOOKS)),
        ("failureDetection", Kind::Keys(&FAILURES)),
        ("exitOnLeaseEnd", Kind::Bool),
    ],
    required: &["metadata"],
    closed: false,
};
const HOOKS: Keys = Keys {
    known: &[
        ("beforeLease", Kind::KeysOrNull(&HOOK)),
        ("afterLease", Kind::KeysOrNull(&HOOK)),
        ("before_lease", Kind::KeysOrNull(&HOOK)),
        ("after_lease", Kind::KeysOrNull(&HOOK)),
        ("check", Kind::KeysOrNull(&CHECK)),
    ],
    required: &[],
    closed: false,
};
const HOOK: Keys = Keys {
    known: &[
        ("script", Kind::Text),
        ("exec", Kind::TextOrNull),
        ("timeout", Kind::Count),
        ("onFailure", Kind::OneOf(FAILURE)),
        ("on_failure", Kind::OneOf(FAILURE)),
    ],
    required: &["script"],
    closed: false,
};
const FAILURE: &[&str] = &["warn", "endLease", "exit"];
const CHECK: Keys = Keys {
    known: &[
        ("script", Kind::Text),
        ("exec", Kind::TextOrNull),
        ("timeout", Kind::Count),
        ("onFailure", Kind::OneOf(CHECK_FAILURE)),
        ("on_failure", Kind::OneOf(CHECK_FAILURE)),
    ],
    required: &["script"],
    closed: false,
};
const CHECK_FAILURE: &[&str] = &["endLease", "exit"];
const FAILURES: Keys = Keys {
    known: &[
        ("maxRapidFailures", Kind::Count),
        ("rapidFailureWindow", Kind::Count),
        ("max_rapid_failures", Kind::Count),
        ("rapid_failure_window", Kind::Count),
    ],
    required: &[],
    closed: false,
};
