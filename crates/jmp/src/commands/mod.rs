//! One file a command: settings in, exit code out.

pub(crate) mod admin;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod version;
