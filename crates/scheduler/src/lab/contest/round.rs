//! One look at everybody who may have to make way.
//!
//! Exporters are matched with waiting leases, as many as possible: those that come free anyway in the order of time, with
//! the noticed ones among them, then victims in the order in which they are chosen. An exporter counts if it lets one
//! more lease be served than those before it do. So no victim is chosen for whom there is no need, and a notice that one
//! more exporter has made needless is withdrawn. Which lease gets which exporter in the end is not decided here.
//!
//! Leases that policies cannot tell apart are one node with room for as many exporters as there are leases.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
};

use jumpstarter_model::Timestamp;

use super::{
    super::{
        Lab,
        access::Scope,
        names::{Age, Name},
        quota::Purse,
        times::later,
        want::{Kind, Slot, Want, WantId},
    },
    Verdict,
};

/// Leases of one kind.
struct Node<'a> {
    kind: &'a Kind,
    /// How many of them have no exporter yet.
    room: usize,
    /// Exporters that they have, by index.
    taken: BTreeSet<usize>,
    /// No exporter can be found room for by way of these any more.
    dead: bool,
}

/// An exporter in the game.
struct Piece {
    exporter: Name,
    scope: Scope,
    /// When it can be given out: now, where nobody knows how long its tear-down takes. What is ahead of it is looked at as
    /// of then.
    comes: Timestamp,
    /// The node that has it.
    at: Option<usize>,
}

/// Nodes of one want with full access to one scope.
struct Reach {
    all: Vec<usize>,
    /// Those of them that may have room.
    open: Vec<usize>,
}

/// Order in which victims are chosen: lowest priority, then the youngest, by begin and by age.
type Turn = (i64, Reverse<Timestamp>, Reverse<Age>, Name);

/// See the module.
pub(super) struct Round<'a> {
    lab: &'a Lab,
    now: Timestamp,
    nodes: Vec<Node<'a>>,
    /// What nodes wait for.
    wanted: Vec<&'a Want>,
    /// What quotas leave to those who wait.
    purse: Purse,
    of_want: BTreeMap<WantId, Vec<(&'a Kind, usize)>>,
    reach: HashMap<(WantId, Scope), Reach>,
    pieces: Vec<Piece>,
    /// Exporters that come within the grace, by when, the noticed ones after others of the same moment.
    coming: BTreeSet<(Timestamp, bool, Name)>,
    /// Wants and scopes in which there are holders of spot.
    sources: BTreeSet<(WantId, Scope)>,
    horizon: Timestamp,
}

impl<'a> Round<'a> {
    /// Finds everybody concerned: who wants what is held as spot, what else may serve those, and who else wants that.
    pub(super) fn gather(lab: &'a Lab, now: Timestamp) -> Self {
        let horizon = later(now, lab.config.preemption_grace).max(now);
        let mut round = Self {
            lab,
            now,
            nodes: Vec::new(),
            wanted: Vec::new(),
            purse: lab.purse(),
            of_want: BTreeMap::new(),
            reach: HashMap::new(),
            pieces: Vec::new(),
            coming: BTreeSet::new(),
            sources: BTreeSet::new(),
            horizon,
        };
        let mut stack = lab.demand.iter().copied().collect::<Vec<_>>();
        // What comes free for others of their accounts takes room from them.
        stack.extend(lab.account_mates(&stack));
        while let Some(id) = stack.pop() {
            if !round.of_want.contains_key(&id)
                && let Some(want) = lab.wants.get(&id)
            {
                round.add_want(id, want, &mut stack);
            }
        }
        round
    }

    fn add_want(&mut self, id: WantId, want: &'a Want, stack: &mut Vec<WantId>) {
        let first = self.nodes.len();
        self.of_want.insert(id, want.kinds.keys().zip(first..).collect());
        let node = |(kind, alike): (&'a Kind, &BTreeSet<Age>)| Node {
            kind,
            room: alike.len(),
            taken: BTreeSet::new(),
            dead: false,
        };
        self.nodes.extend(want.kinds.iter().map(node));
        self.wanted.extend(want.kinds.iter().map(|_| want));
        for ((scope, slot), seats) in &want.tally {
            let matters = matches!(slot, Slot::Leased | Slot::Spot | Slot::Returning);
            if !matters || self.reach(id, *scope).all.is_empty() {
                continue;
            }
            if *slot == Slot::Spot {
                self.sources.insert((id, *scope));
            }
            for (at, exporter) in seats.iter().take_while(|(at, _)| *at <= self.horizon) {
                if self.coming.insert((*at, self.noticed(exporter).is_some(), exporter.clone())) {
                    stack.extend(self.lab.contenders(exporter));
                }
            }
        }
    }

    /// The lease that holds an exporter as spot and was told to make way.
    fn noticed(&self, exporter: &Name) -> Option<&'a Name> {
        let lease = self.lab.holders.get(exporter)?.first()?;
        self.lab.noticed.get(lease)
    }

    fn reach(&mut self, id: WantId, scope: Scope) -> &mut Reach {
        let (lab, now) = (self.lab, self.now);
        let kinds = self.of_want.get(&id);
        self.reach.entry((id, scope)).or_insert_with(|| {
            let kinds = kinds.into_iter().flatten();
            let full = kinds.filter(|((client, span), _)| lab.book.has_full_access(scope, client, span.requested(now)));
            let all = full.map(|(_, node)| *node).collect::<Vec<_>>();
            Reach { open: all.clone(), all }
        })
    }

    /// Says who makes way.
    pub(super) fn judge(mut self) -> Verdict {
        let mut verdict = Verdict::default();
        for (at, noticed, exporter) in std::mem::take(&mut self.coming) {
            let needed = self.admit(&exporter, at.max(self.now));
            if noticed
                && needed
                && let Some(lease) = self.noticed(&exporter)
            {
                verdict.kept.push(lease.clone());
            }
        }
        // Whoever is noticed and is nowhere in the game serves nobody either.
        let kept = verdict.kept.iter().collect::<BTreeSet<_>>();
        verdict.spared = self.lab.noticed.iter().filter(|lease| !kept.contains(lease)).cloned().collect();
        self.choose(&mut verdict.chosen);
        verdict
    }

    /// Chooses victims as long as one more lets one more lease be served.
    fn choose(&mut self, chosen: &mut Vec<Name>) {
        let mut hungry = self.hungry();
        let turns = self.turns(&hungry);
        for (.., exporter) in turns {
            if hungry.is_empty() {
                return;
            }
            self.meet(&exporter);
            let comes = self.horizon;
            let helps = self.neighbours(&exporter, comes).any(|node| hungry.contains(&node));
            if helps && self.admit(&exporter, comes) {
                chosen.extend(self.lab.holders.get(&exporter).and_then(|leases| leases.first()).cloned());
                hungry = self.hungry();
            }
        }
    }

    /// Everybody who could make way for these, in their order.
    fn turns(&mut self, hungry: &BTreeSet<usize>) -> BTreeSet<Turn> {
        let mut turns = BTreeSet::new();
        for (id, scope) in std::mem::take(&mut self.sources) {
            if !self.reach(id, scope).all.iter().any(|node| hungry.contains(node)) {
                continue;
            }
            let lab = self.lab;
            let Some(seats) = lab.wants.get(&id).and_then(|want| want.tally.get(&(scope, Slot::Spot))) else {
                continue;
            };
            for (_, exporter) in seats.iter().rev().take_while(|(at, _)| *at > self.horizon) {
                let holder = lab.holders.get(exporter).and_then(|leases| lab.leases.get(leases.first()?));
                let Some(entry) = holder.filter(|entry| entry.notice.is_none()) else { continue };
                let begin = entry.begin.unwrap_or(Timestamp::MAX);
                turns.insert((entry.priority, Reverse(begin), Reverse(entry.age.clone()), exporter.clone()));
            }
        }
        turns
    }

    /// Nodes for the sake of which one more exporter would let one more lease be served.
    fn hungry(&self) -> BTreeSet<usize> {
        let mut hungry = BTreeSet::new();
        hungry.extend((0..self.nodes.len()).filter(|node| self.nodes[*node].room > 0));
        if hungry.is_empty() {
            return hungry;
        }
        loop {
            let fed = self.nodes.iter().enumerate().filter(|(node, _)| !hungry.contains(node));
            // One of its exporters would do for a hungry one, and it could take another instead.
            let gives = |taken: &usize| {
                let Piece { exporter, comes, .. } = &self.pieces[*taken];
                self.neighbours(exporter, *comes).any(|to| hungry.contains(&to))
            };
            let more = fed.filter(|(_, node)| node.taken.iter().any(gives)).map(|(node, _)| node).collect::<Vec<_>>();
            if more.is_empty() {
                return hungry;
            }
            hungry.extend(more);
        }
    }

    /// Nodes with full access to an exporter that get it when it is free, and let it go before anybody else has a claim
    /// on it.
    fn neighbours(&self, exporter: &Name, comes: Timestamp) -> impl Iterator<Item = usize> {
        let scope = self.lab.exporters.get(exporter).map(|bench| bench.scope);
        let keys = self.lab.contenders(exporter).filter_map(move |id| Some((id, scope?)));
        let all = keys.filter_map(|key| self.reach.get(&key)).flat_map(|reach| reach.all.iter().copied());
        all.filter(move |node| self.fits(exporter, *node, comes))
    }

    fn fits(&self, exporter: &Name, node: usize, comes: Timestamp) -> bool {
        let (want, kind) = (self.wanted[node], self.nodes[node].kind);
        // It would be kept back for a group ahead, and given to whoever is done with it before: for no other good.
        let first = want.kinds.get(kind).and_then(|alike| alike.first());
        if first.is_some_and(|first| self.lab.would_be_kept_from(exporter, first, self.now)) {
            return false;
        }
        self.lab.fits_kind(exporter, want, kind, comes)
    }

    /// Takes an exporter in if it lets one more lease be served. Returns whether it does.
    fn admit(&mut self, exporter: &Name, comes: Timestamp) -> bool {
        let Some(scope) = self.lab.exporters.get(exporter).map(|bench| bench.scope) else { return false };
        self.meet(exporter);
        self.pieces.push(Piece { exporter: exporter.clone(), scope, comes, at: None });
        let piece = self.pieces.len() - 1;
        if let Some(path) = self.path(piece) {
            for (piece, node) in path {
                if let Some(old) = self.pieces[piece].at.replace(node) {
                    self.nodes[old].taken.remove(&piece);
                }
                self.nodes[node].taken.insert(piece);
            }
            return true;
        }
        self.pieces.pop();
        false
    }

    /// Finds out who has full access to an exporter.
    fn meet(&mut self, exporter: &Name) {
        let Some(scope) = self.lab.exporters.get(exporter).map(|bench| bench.scope) else { return };
        for id in self.lab.contenders(exporter).collect::<Vec<_>>() {
            self.reach(id, scope);
        }
    }

    /// A way to find room for an exporter: which one goes where.
    fn path(&mut self, from: usize) -> Option<Vec<(usize, usize)>> {
        let mut came = HashMap::new();
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([from]);
        while let Some(piece) = queue.pop_front() {
            if let Some(node) = self.open_node(piece) {
                self.nodes[node].room -= 1;
                self.purse.take(self.lab, self.pieces[piece].scope, self.nodes[node].kind, self.now);
                let mut path = vec![(piece, node)];
                let mut at = piece;
                while let Some((before, node)) = came.get(&at) {
                    path.push((*before, *node));
                    at = *before;
                }
                return Some(path);
            }
            let Piece { exporter, comes, .. } = &self.pieces[piece];
            for node in self.neighbours(exporter, *comes).collect::<Vec<_>>() {
                if self.nodes[node].dead || !seen.insert(node) {
                    continue;
                }
                for next in self.nodes[node].taken.iter().copied() {
                    came.insert(next, (piece, node));
                    queue.push_back(next);
                }
            }
        }
        // There will never be room behind these: whatever is taken in later does not pass them.
        for node in seen {
            self.nodes[node].dead = true;
        }
        None
    }

    /// A node with room and full access to an exporter.
    fn open_node(&mut self, piece: usize) -> Option<usize> {
        let Piece { exporter, scope, comes, .. } = &self.pieces[piece];
        if self.lab.is_booked_up(exporter) || self.lab.is_sought_by_groups(exporter) {
            return self.neighbours(exporter, *comes).find(|node| {
                let Node { room, kind, .. } = self.nodes[*node];
                room > 0 && self.purse.allows(self.lab, *scope, kind, self.now)
            });
        }
        for id in self.lab.contenders(exporter) {
            let Some(reach) = self.reach.get_mut(&(id, *scope)) else { continue };
            while let Some(node) = reach.open.last() {
                // No more than quotas let them have: an exporter that cannot be given to them helps nobody.
                let Node { room, kind, .. } = self.nodes[*node];
                if room > 0 && self.purse.allows(self.lab, *scope, kind, self.now) {
                    return Some(*node);
                }
                reach.open.pop();
            }
        }
        None
    }
}
