//! When a waiting lease may begin: the future played through at three paces.

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use super::{
    Ask,
    field::Field,
    game::{AT_ONCE, Game},
    history::{Pace, Usage},
    stock::Ledger,
};
use crate::{
    Forecast,
    lab::{Lab, times::later},
};

/// What forecasts start from, looked up once for all of an answer.
pub(super) struct Past {
    /// How much of their time leases use.
    pub(super) usage: Usage,
    /// What accounts have used.
    pub(super) ledger: Ledger,
}

impl Lab {
    /// When `ask` may begin.
    pub(super) fn forecast(&self, ask: &Ask<'_>, past: &Past, now: Timestamp) -> Option<Forecast> {
        let learned_from = past.usage.learned_from();
        if ask.finds_free {
            let at = later(now, SignedDuration::from_secs(AT_ONCE));
            return Some(Forecast { earliest: at, likely: at, latest: Some(at), learned_from });
        }
        // What is kept back for a group, and until when, is not foreseen.
        if self.any_group_ahead(ask, now) {
            return None;
        }
        let field = Field::new(self, ask);
        let play = |pace| {
            let mut game = Game::new(self, ask, &field, past, pace, now);
            let at = later(now, SignedDuration::from_secs(game.play()?));
            Some((at, game))
        };
        let (earliest, _) = play(Pace::Early)?;
        // Another pace can deal the devices out otherwise; an interval must not be inside out all the same.
        let likely = play(Pace::Likely)?.0.max(earliest);
        // Shares move as time passes; so those who are behind now may come first later. So may those who are scheduled,
        // and take what an account has room for.
        let latest = if ask.shares || !field.is_whole { None } else { play(Pace::Declared) };
        let latest = latest.filter(|(at, game)| !game.is_joined_by(*at)).map(|(at, _)| at.max(likely));
        Some(Forecast { earliest, likely, latest, learned_from })
    }
}
