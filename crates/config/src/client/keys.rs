//! What a client's file may hold.
use crate::check::{Keys, Kind, METADATA, TLS};

/// The whole file.
pub(super) const TOP: Keys = Keys {
    known: &[
        ("alias", Kind::Ignored),
        ("path", Kind::Ignored),
        ("apiVersion", Kind::OneOf(&["jumpstarter.dev/v1alpha1"])),
        ("kind", Kind::OneOf(&["ClientConfig"])),
        ("metadata", Kind::Keys(&METADATA)),
        ("endpoint", Kind::TextOrNull),
        ("tls", Kind::Keys(&TLS)),
        ("token", Kind::TextOrNull),
        ("refresh_token", Kind::TextOrNull),
        ("grpcOptions", Kind::MapOrNull),
        ("drivers", Kind::Keys(&DRIVERS)),
        ("shell", Kind::Keys(&SHELL)),
        ("leases", Kind::Keys(&LEASES)),
    ],
    required: &["metadata"],
    closed: true,
};
const DRIVERS: Keys = Keys { known: &[("allow", Kind::Texts), ("unsafe", Kind::Bool)], required: &[], closed: true };
const SHELL: Keys = Keys { known: &[("use_profiles", Kind::Bool)], required: &[], closed: false };
const LEASES: Keys = Keys {
    known: &[("acquisition_timeout", Kind::Count), ("dial_timeout", Kind::Number), ("retry_timeout", Kind::Number)],
    required: &[],
    closed: true,
};
