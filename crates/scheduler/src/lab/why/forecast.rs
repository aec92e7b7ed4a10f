//! When a waiting lease may begin: the future played through on the devices that it could have.
//!
//! Devices come free one after the other, each goes to whoever has the best claim on it, as decisions do it. Devices
//! that only others could have are part of the game when leases ahead may use them, so that a lease that wants one
//! device does not wait behind all those that find another one.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use super::{
    Ask,
    history::{Pace, Usage, seconds},
};
use crate::{
    Forecast,
    lab::{
        Lab,
        calendar::Stay,
        exporter::{Bench, Usable},
        names::{Age, Name},
        times::later,
        turn::Turn,
        want::WantId,
    },
};

/// Devices that take part; what lies beyond is left out, which makes the forecast later, never earlier.
const MAX_DEVICES: usize = 4000;
/// Looks at waiting leases before the forecast is given up: it runs where decisions are made.
const MAX_LOOKS: usize = 20_000;
/// What a look at what is ahead of a device counts for: schedules may have to be searched.
const LOOKS_OF_A_TURN: usize = 20;

/// One way in which things may go.
struct Game<'a> {
    lab: &'a Lab,
    ask: &'a Ask<'a>,
    usage: &'a Usage,
    pace: Pace,
    now: Timestamp,
    /// Devices by the second, from now, at which they come free.
    coming: BinaryHeap<Reverse<(i64, &'a Name)>>,
    queues: HashMap<WantId, Queue<'a>>,
    served: HashSet<&'a str>,
    looks: usize,
}

/// Those who wait with one want; the ones before `first` are all served.
struct Queue<'a> {
    waiting: Vec<&'a Age>,
    first: usize,
}

/// Seconds within which a lease that is taken to begin at once begins.
const AT_ONCE: i64 = 0;

impl Lab {
    /// When `ask` may begin.
    pub(super) fn forecast(&self, ask: &Ask<'_>, usage: &Usage, now: Timestamp) -> Option<Forecast> {
        // What is kept back for a group, and until when, is not foreseen.
        if ask.kept || (!ask.finds_free && self.any_group_ahead(ask, now)) {
            // When its account has room again depends on more than devices.
            return None;
        }
        let play = |pace| {
            let at = if ask.finds_free { Some(AT_ONCE) } else { Game::new(self, ask, usage, pace, now).play() };
            at.map(|seconds| later(now, SignedDuration::from_secs(seconds)))
        };
        let earliest = play(Pace::Early)?;
        // Another pace can deal the devices out otherwise; an interval must not be inside out all the same.
        let likely = play(Pace::Likely)?.max(earliest);
        // Shares move as time passes; so those who are behind now may come first later.
        let latest = play(Pace::Declared).filter(|_| !ask.shares || ask.finds_free).map(|at| at.max(likely));
        Some(Forecast { earliest, likely, latest, learned_from: usage.learned_from() })
    }
}

impl<'a> Game<'a> {
    fn new(lab: &'a Lab, ask: &'a Ask<'a>, usage: &'a Usage, pace: Pace, now: Timestamp) -> Self {
        let mut game = Self {
            lab,
            ask,
            usage,
            pace,
            now,
            coming: BinaryHeap::new(),
            queues: HashMap::new(),
            served: HashSet::new(),
            looks: 0,
        };
        let mut seen = HashSet::new();
        let mut wants = HashSet::new();
        for name in ask.devices.keys().take(MAX_DEVICES) {
            seen.insert(name.clone());
            game.add(name);
            if let Some(bench) = lab.exporters.get(name) {
                wants.extend(bench.wants.iter().copied());
            }
        }
        // What those who compete could have instead.
        let others = wants.iter().filter_map(|id| lab.wants.get(id)).filter(|want| !want.waiting.is_empty());
        for (_, name) in others.flat_map(|want| want.tally.values().flatten()) {
            if seen.len() >= MAX_DEVICES {
                break;
            }
            if seen.insert(name.clone()) {
                game.add(name);
            }
        }
        game
    }

    fn add(&mut self, name: &Name) {
        let Some((name, bench)) = self.lab.exporters.get_key_value(name) else { return };
        let kept = bench.kept().filter(|_| !self.ask.takes_quarantined && bench.usable != Usable::Offline);
        let at = match (kept, self.comes_free(name, bench)) {
            (None, at) => at,
            // A check may keep it back for longer, and nobody knows what an operator will do.
            (Some(_), _) if self.pace == Pace::Declared => None,
            (Some(kept), at) => {
                kept.until().map(|until| seconds(self.now, until).max(at.unwrap_or(AT_ONCE)).max(AT_ONCE))
            }
        };
        if let Some(at) = at {
            self.coming.push(Reverse((at, name)));
        }
    }

    /// Seconds until a device comes free; `None` for one that does not, or is free and wanted by nobody.
    fn comes_free(&self, name: &Name, bench: &Bench) -> Option<i64> {
        match bench.usable {
            Usable::Free if bench.quarantined => Some(AT_ONCE),
            // One that is free is waited for when what is ahead of it is in the way.
            Usable::Free => bench.booked.then_some(AT_ONCE),
            Usable::Offline => None,
            // It may be back any moment, or never.
            Usable::Returning | Usable::NotReady => (self.pace != Pace::Declared).then_some(AT_ONCE),
            Usable::Leased | Usable::Spot => {
                let holder = bench.claim.as_ref().or_else(|| self.lab.holders.get(name)?.first())?;
                let entry = self.lab.leases.get(holder)?;
                let begin = entry.begin.unwrap_or(self.now);
                if entry.notice.is_some() {
                    return Some(seconds(self.now, entry.until(self.lab.config.preemption_grace)).max(AT_ONCE));
                }
                let planned = seconds(begin, entry.times.end(begin));
                let lasts = self.usage.lasts(self.pace, planned, seconds(begin, self.now));
                Some((lasts - seconds(begin, self.now)).max(AT_ONCE))
            }
        }
    }

    /// Seconds until the asker is served.
    fn play(mut self) -> Option<i64> {
        while let Some(Reverse((at, name))) = self.coming.pop() {
            let Some(bench) = self.lab.exporters.get(name) else { continue };
            let best = self.best_waiting(name, bench, at);
            if self.looks > MAX_LOOKS {
                return None;
            }
            let mine = self.ask.devices.get(name).filter(|_| self.can_have(name, at));
            let mine = mine.map(|(turn, _)| (*turn, self.ask.age));
            match (mine, best) {
                (Some(mine), best) if best.is_none_or(|best| mine < best) => return Some(at),
                (_, Some((_, age))) => {
                    self.served.insert(&age.name);
                    let planned = self.lab.leases.get(&age.name).map_or(0, |entry| {
                        let begin = later(self.now, SignedDuration::from_secs(at));
                        seconds(begin, entry.times.end(begin))
                    });
                    let end = at.saturating_add(self.usage.lasts(self.pace, planned, 0));
                    self.coming.push(Reverse((end, name)));
                }
                // Nobody can have it now; what is ahead of it will be over.
                (None, None) if bench.booked && self.ask.devices.contains_key(name) => {
                    self.looks += LOOKS_OF_A_TURN;
                    let from = later(self.now, SignedDuration::from_secs(at));
                    let over = self.lab.obstacle(name, self.stay(from), &self.ask.age.name, self.ask.client);
                    let over = over.map(|obstacle| seconds(self.now, obstacle.end)).filter(|over| *over > at);
                    self.coming.extend(over.map(|over| Reverse((over, name))));
                }
                // Nobody wants it now, and nobody new is expected.
                (_, None) => {}
            }
        }
        None
    }

    /// The time that the asker would need from `from` on.
    fn stay(&self, from: Timestamp) -> Stay {
        Stay { begin: from, end: self.ask.span.end(from) }
    }

    /// Whether nothing that is ahead of a device is in the asker's way there.
    fn can_have(&self, name: &Name, at: i64) -> bool {
        let from = later(self.now, SignedDuration::from_secs(at));
        self.lab.is_open(name, self.stay(from), &self.ask.age.name, self.ask.client)
    }

    /// Whoever has the best claim on a device among those who still wait, the asker left aside.
    fn best_waiting(&mut self, name: &Name, bench: &'a Bench, at: i64) -> Option<(Turn, &'a Age)> {
        let from = later(self.now, SignedDuration::from_secs(at));
        let lab = self.lab;
        let line = lab.line(bench.scope);
        let mut best: Option<(Turn, &Age)> = None;
        for id in &bench.wants {
            let Some(want) = lab.wants.get(id) else { continue };
            if want.waiting.is_empty() || !want.takes(bench) {
                continue;
            }
            let queue =
                self.queues.entry(*id).or_insert_with(|| Queue { waiting: want.waiting.iter().collect(), first: 0 });
            while queue.waiting.get(queue.first).is_some_and(|age| self.served.contains(&*age.name)) {
                queue.first += 1;
            }
            for age in &queue.waiting[queue.first..] {
                self.looks += 1;
                let beaten = |(had, eldest)| eldest < *age && lab.is_unbeaten(line, had, age, self.now);
                if self.looks > MAX_LOOKS || best.is_some_and(beaten) {
                    break;
                }
                if *age == self.ask.age || self.served.contains(&*age.name) {
                    continue;
                }
                let Some(entry) = lab.leases.get(&age.name) else { continue };
                let requested = entry.times.requested(self.now);
                // Those whom a quota keeps now may come first later.
                let turn = lab.turn_if_kept(line, age, &entry.client, requested, self.now);
                let Some((turn, _)) = turn else { continue };
                if bench.booked && !lab.fits(name, entry, from) {
                    continue;
                }
                best = Some(best.map_or((turn, *age), |best| best.min((turn, *age))));
                if lab.is_unbeaten(line, turn, age, self.now) {
                    break;
                }
            }
        }
        best
    }
}
