//! Whose turn it is: the order of leases at one exporter, leaving aside their age, which decides between equals.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
};

use jumpstarter_model::{GoDuration, Timestamp};

use super::{
    Lab,
    access::{Rank, Scope},
    names::{Age, Name},
    times::later,
    want::Want,
};

/// The turn of a lease at exporters of one scope; the least goes first.
///
/// Full access goes before spot access. Then those who have waited for too long, by age alone; then by priority, and at
/// equal priority by share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// What the lease gets there.
    pub(crate) rank: Rank,
    /// Whether it has waited for longer than anybody should.
    pub(crate) overdue: bool,
    /// Fading use of its account, less going first.
    share: i128,
}

impl Turn {
    fn key(&self) -> (bool, bool, Reverse<i64>, i128) {
        let Self { rank: Rank { spot, priority }, overdue, share } = *self;
        if overdue { (spot, false, Reverse(0), 0) } else { (spot, true, priority, share) }
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Turn {}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// What is known beforehand about turns at exporters of one scope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    scope: Scope,
    ceiling: Rank,
    /// Whether shares count there.
    shares: bool,
}

impl Lab {
    /// What is known beforehand about a scope.
    pub(super) fn line(&self, scope: Scope) -> Line {
        let shares = !self.book.weights_of(scope).is_empty();
        Line { scope, ceiling: self.book.best_rank(scope), shares }
    }

    /// The turn of a lease at exporters of a scope; `None` if it cannot have one now.
    pub(super) fn turn(
        &self,
        line: Line,
        age: &Age,
        client: &str,
        requested: GoDuration,
        now: Timestamp,
    ) -> Option<Turn> {
        let rank = self.book.access(line.scope, client, requested).rank()?;
        Some(self.turn_with(line, age, client, rank, now))
    }

    /// The turn of a lease at exporters of a scope, and whether a quota keeps it from having one now.
    pub(super) fn turn_if_kept(
        &self,
        line: Line,
        age: &Age,
        client: &str,
        requested: GoDuration,
        now: Timestamp,
    ) -> Option<(Turn, bool)> {
        let access = self.book.access(line.scope, client, requested);
        let kept = access.rank().is_none();
        Some((self.turn_with(line, age, client, access.rank_by_policy()?, now), kept))
    }

    /// The turn of a lease that has this rank there.
    pub(super) fn turn_with(&self, line: Line, age: &Age, client: &str, rank: Rank, now: Timestamp) -> Turn {
        let share = if line.shares { self.book.share(line.scope, client) } else { 0 };
        Turn { rank, overdue: self.is_overdue(age, now), share }
    }

    /// Whether nobody younger than this lease has an earlier turn than one of this turn.
    pub(super) fn is_unbeaten(&self, line: Line, turn: Turn, age: &Age, now: Timestamp) -> bool {
        if turn.overdue {
            return turn.rank.spot == line.ceiling.spot;
        }
        !line.shares && turn.rank == line.ceiling && !self.may_be_overdue(age, now)
    }

    /// The one of leases alike whose turn comes first: the eldest, unless that one began to wait later than its creation.
    pub(super) fn first_of<'a>(&self, alike: &'a BTreeSet<Age>, now: Timestamp) -> Option<&'a Age> {
        let mut old = alike.iter().take_while(|age| self.may_be_overdue(age, now));
        old.find(|age| self.is_overdue(age, now)).or_else(|| alike.first())
    }

    /// Whether a lease has waited for longer than anybody should. One that was scheduled waits since its begin.
    fn is_overdue(&self, age: &Age, now: Timestamp) -> bool {
        self.may_be_overdue(age, now)
            && self.leases.get(&age.name).is_some_and(|entry| {
                entry.times.begin().is_none_or(|begin| later(begin, self.config.longest_wait) <= now)
            })
    }

    /// The same going by its creation alone; it then holds for all that are older.
    fn may_be_overdue(&self, age: &Age, now: Timestamp) -> bool {
        let limit = self.config.longest_wait;
        limit.is_positive() && later(age.created, limit) <= now
    }

    /// The lease that follows this one among those alike, once this one has left the queue.
    pub(super) fn next_alike(&self, name: &Name) -> impl FnOnce(&Self, Timestamp) -> Option<Name> + use<> {
        let found = self.leases.get(name).and_then(|entry| Some((entry.want?, entry.kind())));
        move |lab, now| {
            let (id, kind) = found?;
            let want: &Want = lab.wants.get(&id)?;
            Some(lab.first_of(want.kinds.get(&kind)?, now)?.name.clone())
        }
    }
}
