//! Label selectors in full Kubernetes syntax.

/// A parsed label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {}
