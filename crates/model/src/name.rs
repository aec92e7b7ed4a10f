//! Names of objects and the resource names of `jumpstarter.client.v1` (protocol.md §1.7).

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use crate::quote::shorten;

/// Longest DNS-1123 label.
pub const MAX_LABEL: usize = 63;
/// Longest DNS-1123 subdomain.
pub const MAX_SUBDOMAIN: usize = 253;

/// Why a text cannot be the name of an object. The text fits `INVALID_ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{what} is empty: give a name such as `{example}`")]
    Empty {
        /// What the name is of, such as `namespace`.
        what: &'static str,
        /// A name that would do.
        example: &'static str,
    },
    /// More characters than the kind of name allows.
    #[error("{what} is {length} characters long: use at most {limit}")]
    TooLong {
        /// What the name is of.
        what: &'static str,
        /// Length found.
        length: usize,
        /// Length allowed.
        limit: usize,
    },
    /// A character or position that DNS names do not allow.
    #[error(
        "{what} `{name}` is malformed: use lower-case letters, digits{}, with a letter or digit at both ends",
        if *.dots { ", `-` and `.`" } else { " and `-`" }
    )]
    Malformed {
        /// What the name is of.
        what: &'static str,
        /// The name found, cut when long.
        name: String,
        /// Whether dots are allowed.
        dots: bool,
    },
    /// The text is no resource name of the kind.
    #[error("invalid resource name `{name}`: expected `{pattern}`")]
    Pattern {
        /// The text found, cut when long.
        name: String,
        /// The shape expected.
        pattern: &'static str,
    },
}

/// Checks a DNS-1123 label, as namespaces are: at most 63 of `[a-z0-9-]`.
pub fn validate_label(what: &'static str, name: &str) -> Result<(), NameError> {
    validate(what, name, MAX_LABEL, false)
}

/// Checks a DNS-1123 subdomain, as object names are: labels joined with dots, at most 253 characters.
pub fn validate_subdomain(what: &'static str, name: &str) -> Result<(), NameError> {
    validate(what, name, MAX_SUBDOMAIN, true)
}

fn validate(what: &'static str, name: &str, limit: usize, dots: bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what, example: "my-board" });
    }
    if name.len() > limit {
        return Err(NameError::TooLong { what, length: name.chars().count(), limit });
    }
    let well_formed = if dots { name.split('.').all(is_dns_label) } else { is_dns_label(name) };
    if well_formed { Ok(()) } else { Err(NameError::Malformed { what, name: shorten(name), dots }) }
}

/// Whether the text is made of `[a-z0-9-]` with a letter or digit at both ends; says nothing of its length.
fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether the text is a DNS-1123 subdomain.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_dns_label)
}

/// `namespaces/{namespace}`, the parent in list and create requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName {
    /// The namespace.
    pub namespace: String,
}

impl FromStr for NamespaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut segments = text.split('/');
        let (Some("namespaces"), Some(namespace), None) = (segments.next(), segments.next(), segments.next()) else {
            return Err(NameError::Pattern { name: shorten(text), pattern: "namespaces/{namespace}" });
        };
        validate_label("namespace", namespace)?;
        Ok(Self { namespace: namespace.to_owned() })
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}", self.namespace)
    }
}

macro_rules! resource_name {
    ($type:ident, $collection:literal, $what:literal) => {
        #[doc = concat!("`namespaces/{namespace}/", $collection, "/{", $what, "}`.")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            /// Namespace of the object.
            pub namespace: String,
            /// Name of the object.
            pub name: String,
        }

        impl $type {
            /// The resource name of an object known to exist; the parts are not checked.
            pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let pattern = concat!("namespaces/{namespace}/", $collection, "/{", $what, "}");
                let (namespace, name) = split(text, $collection, pattern)?;
                validate_subdomain(concat!($what, " name"), name)?;
                Ok(Self::new(namespace, name))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "namespaces/{}/{}/{}", self.namespace, $collection, self.name)
            }
        }
    };
}

resource_name!(ExporterName, "exporters", "exporter");
resource_name!(LeaseName, "leases", "lease");
resource_name!(ClientName, "clients", "client");

fn split<'a>(text: &'a str, collection: &str, pattern: &'static str) -> Result<(&'a str, &'a str), NameError> {
    let error = || NameError::Pattern { name: shorten(text), pattern };
    let mut segments = text.split('/');
    let mut next = || segments.next().ok_or_else(error);
    let (first, namespace, found, name) = (next()?, next()?, next()?, next()?);
    if first != "namespaces" || found != collection || segments.next().is_some() {
        return Err(error());
    }
    validate_label("namespace", namespace)?;
    Ok((namespace, name))
}
