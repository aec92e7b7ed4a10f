//! One file a command: settings in, exit code out.

pub(crate) mod admin;
pub(crate) mod auth;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod driver;
pub(crate) mod elsewhere;
pub(crate) mod get;
pub(crate) mod login;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod why;
