//! How a replica comes to lead.

use std::time::Duration;

use jumpstarter_election::{Elector, Leadership};
use tokio::sync::watch;

/// With rivals, or without.
pub(super) enum Candidacy {
    /// One of several replicas.
    Contested(Elector),
    /// The only one: it leads from the start.
    Alone(watch::Sender<Leadership>),
}

impl Candidacy {
    /// Leads at once.
    pub(super) fn alone() -> Self {
        Self::Alone(watch::Sender::new(Leadership::Leading { term: 1 }))
    }

    pub(super) fn leadership(&self) -> watch::Receiver<Leadership> {
        match self {
            Self::Contested(elector) => elector.leadership(),
            Self::Alone(leadership) => leadership.subscribe(),
        }
    }

    pub(super) fn is_contested(&self) -> bool {
        matches!(self, Self::Contested(_))
    }

    /// Gives up the lead for a while.
    pub(super) async fn step_down(&self, rest: Duration) {
        match self {
            Self::Contested(elector) => elector.step_down(rest).await,
            Self::Alone(leadership) => {
                leadership.send_replace(Leadership::Standby { leader: None });
            }
        }
    }

    pub(super) async fn leave(self) {
        match self {
            Self::Contested(elector) => elector.leave().await,
            Self::Alone(_) => {}
        }
    }
}
