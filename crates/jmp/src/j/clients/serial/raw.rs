//! The terminal without its own ideas: every key goes through as it is.
use std::io::stdin;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// The terminal is raw for as long as this value lives.
pub(super) struct RawMode(Termios);

impl RawMode {
    /// Makes it raw.
    pub(super) fn enter() -> Result<Self, Failure> {
        let failed = |error: rustix::io::Errno| Failure::from_error("make the terminal raw", &error);
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}
