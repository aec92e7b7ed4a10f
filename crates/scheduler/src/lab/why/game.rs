//! One way in which things may go, played through.
//!
//! Devices come free one after the other, each goes to whoever has the best claim on it, as decisions do it. Devices
//! that only others could have are part of the game when leases ahead may use them, so that a lease that wants one
//! device does not wait behind all those that find another one. Quotas are part of it, too: leases that end make room in
//! accounts, and device time leaves their periods.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
};

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use super::{
    Ask,
    field::{Field, Kind},
    forecast::Past,
    history::{Pace, Usage, seconds},
    stock::{Fit, Stock},
};
use crate::lab::{
    Lab,
    access::Scope,
    calendar::Stay,
    exporter::Bench,
    names::{Age, Name},
    times::{Span, later},
    turn::Turn,
    want::WantId,
};

/// Looks at waiting leases before the forecast is given up: it runs where decisions are made.
const MAX_LOOKS: usize = 20_000;
/// What a look at what is ahead of a device counts for: schedules may have to be searched.
const LOOKS_OF_A_TURN: usize = 20;

/// Seconds within which a lease that is taken to begin at once begins.
pub(super) const AT_ONCE: i64 = 0;

/// One way in which things may go.
pub(super) struct Game<'a> {
    lab: &'a Lab,
    ask: &'a Ask<'a>,
    usage: &'a Usage,
    pace: Pace,
    now: Timestamp,
    /// Where quotas may keep anybody from anything.
    stock: Option<Stock<'a>>,
    /// What happens, by the second from now.
    events: BinaryHeap<Reverse<(i64, Event<'a>)>>,
    /// Devices that are free, in the order in which they are given out.
    free: BTreeMap<Kind<'a>, BTreeSet<(Timestamp, &'a Name)>>,
    queues: HashMap<WantId, Vec<Queue<'a>>>,
    served: HashSet<&'a str>,
    looks: usize,
}

/// What happens; at the same second in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event<'a> {
    /// A lease lets go what it takes of an account, and might have kept it until then.
    Ends(usize, Timestamp),
    Free(&'a Name),
    /// An account has device time for somebody.
    Room,
}

/// Those who wait with one want; the ones before `first` are all served. Where there are quotas, of one client and for
/// the same time.
struct Queue<'a> {
    waiting: Vec<&'a Age>,
    first: usize,
}

/// Who gets which device; the least goes first.
type Pair<'a> = (Turn, &'a Age, Reverse<i64>, (Timestamp, &'a Name));

impl<'a> Game<'a> {
    pub(super) fn new(
        lab: &'a Lab,
        ask: &'a Ask<'a>,
        field: &Field<'a>,
        Past { usage, ledger }: &'a Past,
        pace: Pace,
        now: Timestamp,
    ) -> Self {
        let mut game = Self {
            lab,
            ask,
            usage,
            pace,
            now,
            stock: Stock::new(lab, ledger),
            // What is free may be waited for.
            events: BinaryHeap::from([Reverse((AT_ONCE, Event::Room))]),
            free: field.free.clone(),
            queues: HashMap::new(),
            served: HashSet::from([&*ask.age.name]),
            looks: 0,
        };
        for (name, bench) in field.held.iter().copied() {
            let at = lab.comes_free(name, bench, ask.takes_quarantined, (usage, pace), now);
            game.events.extend(at.map(|at| Reverse((at, Event::Free(name)))));
        }
        game
    }

    /// Seconds until the asker is served; `None` when it never is, or that takes too long to find out.
    pub(super) fn play(&mut self) -> Option<i64> {
        while let Some(Reverse((at, _))) = self.events.peek() {
            let at = *at;
            self.happen(at);
            while let Some((_, age, _, (_, device))) = self.best_pair(at) {
                if *age == *self.ask.age {
                    return Some(at);
                }
                self.give(device, age, at);
            }
            if self.looks > MAX_LOOKS {
                return None;
            }
        }
        None
    }

    /// Whether a lease that is scheduled to begin by then has an account with anybody who took part.
    pub(super) fn is_joined_by(&self, at: Timestamp) -> bool {
        let Some(stock) = &self.stock else { return false };
        let soon = self.lab.timers.iter().take_while(|(timer, _)| *timer <= at);
        let mut soon = soon.filter_map(|(_, name)| self.lab.leases.get(name)).filter(|entry| {
            entry.exporter.is_none()
                && entry.want.is_none()
                && entry.times.begin().is_some_and(|begin| begin > self.now)
        });
        soon.any(|entry| stock.knows(&entry.client))
    }

    fn instant(&self, at: i64) -> Timestamp {
        later(self.now, SignedDuration::from_secs(at))
    }

    /// Lets everything happen that happens in one second.
    fn happen(&mut self, at: i64) {
        while let Some(Reverse((_, event))) = self.events.peek().filter(|Reverse((next, _))| *next == at).copied() {
            self.events.pop();
            match event {
                Event::Ends(account, planned) => {
                    let instant = self.instant(at);
                    if let Some(stock) = &mut self.stock {
                        stock.let_go(account, instant, planned);
                    }
                }
                Event::Free(name) => {
                    if let Some(bench) = self.lab.exporters.get(name) {
                        let kind = Kind::of(self.lab, self.ask, name, bench);
                        let since = self.instant(at);
                        self.free.entry(kind).or_default().insert((since, name));
                    }
                }
                Event::Room => {}
            }
        }
    }

    /// Who gets a device next, and which. When nobody does, only those devices stay that a quota keeps from somebody.
    fn best_pair(&mut self, at: i64) -> Option<Pair<'a>> {
        let mut best: Option<Pair<'a>> = None;
        let mut kept = Vec::new();
        let free = std::mem::take(&mut self.free);
        for (kind, seats) in &free {
            let Some((since, name)) = seats.first().copied() else { continue };
            let Some(bench) = self.lab.exporters.get(name) else { continue };
            let mut keeps = false;
            let mut found = self.best_waiting(name, bench, kind, at, &mut keeps);
            let mine = kind.mine.then(|| self.my_turn(name, bench, at, &mut keeps)).flatten();
            found = found.into_iter().chain(mine.map(|turn| (turn, self.ask.age))).min();
            if self.looks > MAX_LOOKS {
                return None;
            }
            match found {
                Some((turn, age)) => {
                    let pair = (turn, age, turn.rank.priority, (since, name));
                    best = Some(best.map_or(pair, |best| best.min(pair)));
                }
                None => {
                    // What is ahead of it will be over.
                    if bench.booked && kind.mine {
                        self.ask_again(name, at);
                    }
                    if keeps {
                        kept.push(kind.clone());
                    }
                }
            }
        }
        self.free = free;
        if best.is_none() {
            let kept = kept.into_iter().collect::<BTreeSet<_>>();
            self.free.retain(|kind, _| kept.contains(kind));
        }
        best
    }

    /// Looks at a device again when what is ahead of it is over.
    fn ask_again(&mut self, name: &'a Name, at: i64) {
        self.looks += LOOKS_OF_A_TURN;
        let stay = self.stay(self.instant(at));
        let over = self.lab.obstacle(name, stay, &self.ask.age.name, &self.ask.entry.client);
        let over = over.map(|obstacle| seconds(self.now, obstacle.end)).filter(|over| *over > at);
        self.events.extend(over.map(|over| Reverse((over, Event::Free(name)))));
    }

    fn give(&mut self, device: &'a Name, age: &'a Age, at: i64) {
        self.served.insert(&age.name);
        let (Some(entry), Some(bench)) = (self.lab.leases.get(&age.name), self.lab.exporters.get(device)) else {
            return;
        };
        if let Some(seats) = self.free.get_mut(&Kind::of(self.lab, self.ask, device, bench)) {
            seats.retain(|(_, name)| *name != device);
        }
        let begin = self.instant(at);
        let planned = entry.times.end(begin);
        let end = at.saturating_add(self.usage.lasts(self.pace, seconds(begin, planned), 0));
        self.events.push(Reverse((end, Event::Free(device))));
        let accounts = self.accounts(bench.scope, &entry.client, at);
        if let Some(stock) = &mut self.stock {
            stock.take(&accounts, begin, planned);
            self.events.extend(accounts.iter().map(|account| Reverse((end, Event::Ends(*account, planned)))));
        }
    }

    /// The time that the asker would need from `from` on.
    fn stay(&self, from: Timestamp) -> Stay {
        Stay { begin: from, end: self.ask.span.end(from) }
    }

    /// The turn of the asker at a device, if nothing is in its way there.
    fn my_turn(&mut self, name: &Name, bench: &Bench, at: i64, keeps: &mut bool) -> Option<Turn> {
        let (entry, from) = (self.ask.entry, self.instant(at));
        let stay = self.stay(from);
        let turn = self.ask.devices.get(name)?.0;
        if stay.end <= from || !self.lab.is_open(name, stay, &self.ask.age.name, &entry.client) {
            return None;
        }
        self.has_room(bench.scope, &entry.client, self.ask.span, at, keeps).then_some(turn)
    }

    /// Whether quotas let a client have a device for so long.
    fn has_room(&mut self, scope: Scope, client: &Name, span: Span, at: i64, keeps: &mut bool) -> bool {
        let accounts = self.accounts(scope, client, at);
        let from = self.instant(at);
        let Some(stock) = self.stock.as_mut().filter(|_| !accounts.is_empty()) else { return true };
        self.looks += stock.effort(&accounts);
        let fit = stock.fits(&accounts, span, from);
        *keeps |= fit != Fit::Yes;
        if let Fit::Short(account) = fit {
            self.looks += LOOKS_OF_A_TURN;
            let from = stock.has_time_from(account, span, at, self.now);
            self.events.extend(from.map(|from| Reverse((from, Event::Room))));
        }
        fit == Fit::Yes
    }

    /// Accounts whose caps count for a client; those that are looked at first bring their leases into the game.
    fn accounts(&mut self, scope: Scope, client: &Name, at: i64) -> std::rc::Rc<[usize]> {
        let Some(stock) = &mut self.stock else { return std::rc::Rc::default() };
        let found = stock.accounts(scope, client);
        let mut over = Vec::new();
        while let Some((account, holders)) = stock.next_fresh() {
            for entry in holders.filter_map(|name| self.lab.leases.get(name)) {
                over.push((account, entry));
            }
        }
        self.looks += over.len() / LOOKS_OF_A_TURN;
        for (account, entry) in over {
            let end = self.lab.lets_go(entry, (self.usage, self.pace), self.now);
            let planned = entry.times.end(entry.begin.unwrap_or(self.now));
            if end > at {
                self.events.push(Reverse((end, Event::Ends(account, planned))));
            } else {
                let instant = self.instant(end);
                if let Some(stock) = &mut self.stock {
                    stock.let_go(account, instant, planned);
                }
            }
        }
        found
    }

    /// Whoever has the best claim on a device among those who still wait, the asker left aside.
    fn best_waiting(
        &mut self,
        name: &Name,
        bench: &'a Bench,
        kind: &Kind<'a>,
        at: i64,
        keeps: &mut bool,
    ) -> Option<(Turn, &'a Age)> {
        let lab = self.lab;
        let (line, from) = (lab.line(bench.scope), self.instant(at));
        let mut best: Option<(Turn, &Age)> = None;
        for id in &kind.wants {
            let mut queues = self.queues.remove(id).unwrap_or_else(|| self.queues_of(*id));
            for queue in &mut queues {
                while queue.waiting.get(queue.first).is_some_and(|age| self.served.contains(&*age.name)) {
                    queue.first += 1;
                }
                for age in &queue.waiting[queue.first..] {
                    self.looks += 1;
                    let beaten = |(had, eldest)| eldest < *age && lab.is_unbeaten(line, had, age, self.now);
                    if self.looks > MAX_LOOKS || best.is_some_and(beaten) {
                        break;
                    }
                    let Some(entry) = lab.leases.get(&age.name).filter(|_| !self.served.contains(&*age.name)) else {
                        continue;
                    };
                    // Those whom a quota keeps now may come first later.
                    let requested = entry.times.requested(self.now);
                    let turn = lab.turn_if_kept(line, age, &entry.client, requested, self.now);
                    let open = !bench.booked || lab.fits(name, entry, from);
                    if let Some((turn, _)) = turn.filter(|_| open)
                        && entry.times.end(from) > from
                        && self.has_room(bench.scope, &entry.client, entry.times.span(), at, keeps)
                    {
                        best = Some(best.map_or((turn, *age), |best| best.min((turn, *age))));
                        if lab.is_unbeaten(line, turn, age, self.now) {
                            break;
                        }
                    }
                    if self.stock.is_some() && turn.is_none_or(|_| open) {
                        // The others of its kind fare no better.
                        break;
                    }
                }
            }
            self.queues.insert(*id, queues);
        }
        best
    }

    fn queues_of(&self, id: WantId) -> Vec<Queue<'a>> {
        let Some(want) = self.lab.wants.get(&id) else { return Vec::new() };
        let queue = |ages: &'a BTreeSet<Age>| Queue { waiting: ages.iter().collect(), first: 0 };
        if self.stock.is_some() { want.kinds.values().map(queue).collect() } else { vec![queue(&want.waiting)] }
    }
}
