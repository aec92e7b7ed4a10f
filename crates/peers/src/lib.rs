//! Where the real peers of the tests live on this machine, and how they got there.
//!
//! Tests talk to unmodified packages from `PyPI` and to a real Kubernetes API server. Each release has a virtual environment of its own in a cache
//! outside the repository, with every package pinned; `cargo xtask setup` makes it, tests only look for it.

mod cache;
mod guest;
pub mod kubernetes;
mod venv;

pub use cache::{CacheError, cache_root, is_complete, mark_complete};
pub use guest::{GUEST_MODULES, GUEST_PACKAGES, GUEST_RECIPE, Guest};
pub use venv::{Missing, Release, Venv};

/// The newest release: the one that our peers must match feature by feature.
pub const NEWEST: Release = Release { version: "0.9.0", requirements: include_str!("../requirements/0.9.0.txt") };

/// The oldest release that can still be installed. It reports no status and knows no session end.
pub const OLDEST: Release = Release { version: "0.6.0", requirements: include_str!("../requirements/0.6.0.txt") };
