//! When a waiting lease may begin: the future played through at three paces.

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use super::{
    Ask,
    field::{Field, Reach},
    game::{AT_ONCE, Game},
    history::{Pace, Usage, seconds},
    stock::Ledger,
};
use crate::{
    Forecast,
    lab::{
        Lab,
        exporter::{Bench, Usable},
        lease::Entry,
        names::Name,
        times::later,
    },
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
        let play = |field: &Field<'_>, pace| {
            let mut game = Game::new(self, ask, field, past, pace, now);
            let at = later(now, SignedDuration::from_secs(game.play()?));
            Some((at, game.is_joined_by(at)))
        };
        let reach = if self.book.quotas.any_caps() { Reach::All } else { Reach::Near };
        let all = Field::new(self, ask, reach);
        let declared = if all.is_whole { play(&all, Pace::Declared) } else { None };
        // Where it takes too long to go through with all of them, those who are near say enough for the rest.
        let field = if declared.is_some() || reach == Reach::Near { all } else { Field::new(self, ask, Reach::Near) };
        let (earliest, _) = play(&field, Pace::Early)?;
        // Another pace can deal the devices out otherwise; an interval must not be inside out all the same.
        let likely = play(&field, Pace::Likely)?.0.max(earliest);
        // Shares move as time passes; so those who are behind now may come first later. So may those who are scheduled,
        // and take what an account has room for.
        let latest = declared.filter(|(_, joined)| !joined && !ask.shares).map(|(at, _)| at.max(likely));
        Some(Forecast { earliest, likely, latest, learned_from })
    }

    /// Seconds until a device comes free; `None` for one that does not, as far as is known.
    pub(super) fn comes_free(
        &self,
        name: &Name,
        bench: &Bench,
        takes_quarantined: bool,
        (usage, pace): (&Usage, Pace),
        now: Timestamp,
    ) -> Option<i64> {
        let kept = bench.kept().filter(|_| !takes_quarantined && bench.usable != Usable::Offline);
        let at = match bench.usable {
            Usable::Free => Some(AT_ONCE),
            Usable::Offline => None,
            // It may be back any moment, or never.
            Usable::Returning | Usable::NotReady => (pace != Pace::Declared).then_some(AT_ONCE),
            Usable::Leased | Usable::Spot => {
                let holder = bench.claim.as_ref().or_else(|| self.holders.get(name)?.first())?;
                Some(self.lets_go(self.leases.get(holder)?, (usage, pace), now))
            }
        };
        match kept {
            None => at,
            // A check may keep it back for longer, and nobody knows what an operator will do.
            Some(_) if pace == Pace::Declared => None,
            Some(kept) => kept.until().map(|until| seconds(now, until).max(at.unwrap_or(AT_ONCE)).max(AT_ONCE)),
        }
    }

    /// Seconds until a lease that holds a device lets it go.
    pub(super) fn lets_go(&self, entry: &Entry, (usage, pace): (&Usage, Pace), now: Timestamp) -> i64 {
        let begin = entry.begin.unwrap_or(now);
        if entry.notice.is_some() {
            return seconds(now, entry.until(self.config.preemption_grace)).max(AT_ONCE);
        }
        let planned = seconds(begin, entry.times.end(begin));
        let lasts = usage.lasts(pace, planned, seconds(begin, now));
        (lasts - seconds(begin, now)).max(AT_ONCE)
    }

    /// When a whole group may begin, where nobody is ahead of any of its members.
    pub(super) fn forecast_of_group(&self, group: &Name, past: &Past, now: Timestamp) -> Option<Forecast> {
        let play = |pace| {
            let free = |name: &Name| {
                let bench = self.exporters.get(name)?;
                self.comes_free(name, bench, false, (&past.usage, pace), now)
            };
            let at = self.group_begins(group, free, now)?;
            Some(later(now, SignedDuration::from_secs(at)))
        };
        let earliest = play(Pace::Early)?;
        let likely = play(Pace::Likely)?.max(earliest);
        let latest = play(Pace::Declared).map(|at| at.max(likely));
        Some(Forecast { earliest, likely, latest, learned_from: past.usage.learned_from() })
    }
}
