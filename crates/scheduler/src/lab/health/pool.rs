//! Pools: of exporters that stand in for each other only a share may be quarantined.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use crate::{QuarantineConfig, lab::names::Name};

/// Where an exporter counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) pool: Name,
    pub(crate) standing: Standing,
}

/// What it is in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    InService,
    /// With a score that should have it quarantined.
    Bad(i32),
    Quarantined,
}

#[derive(Debug, Default)]
struct Pool {
    members: usize,
    quarantined: usize,
    /// The worst first.
    bad: BTreeSet<(Reverse<i32>, Name)>,
}

/// All pools. Exporters that administrators took out of service are in none.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: HashMap<Name, Pool>,
    quarantined: usize,
}

impl Pools {
    /// Moves an exporter from one place to another, in or out. Returns bad ones for which there may be room now.
    pub(crate) fn shift(
        &mut self,
        name: &Name,
        from: Option<&Seat>,
        to: Option<&Seat>,
        config: &QuarantineConfig,
    ) -> Vec<Name> {
        if from == to {
            return Vec::new();
        }
        if let Some(from) = from
            && let Some(pool) = self.pools.get_mut(&from.pool)
        {
            pool.members -= 1;
            match from.standing {
                Standing::InService => {}
                Standing::Bad(score) => _ = pool.bad.remove(&(Reverse(score), name.clone())),
                Standing::Quarantined => {
                    pool.quarantined -= 1;
                    self.quarantined -= 1;
                }
            }
            if pool.members == 0 {
                self.pools.remove(&from.pool);
            }
        }
        if let Some(to) = to {
            let pool = self.pools.entry(to.pool.clone()).or_default();
            pool.members += 1;
            match to.standing {
                Standing::InService => {}
                Standing::Bad(score) => _ = pool.bad.insert((Reverse(score), name.clone())),
                Standing::Quarantined => {
                    pool.quarantined += 1;
                    self.quarantined += 1;
                }
            }
        }
        let pools = from.into_iter().chain(to).filter_map(|seat| self.pools.get(&seat.pool));
        pools.flat_map(|pool| pool.worst(config).cloned()).collect()
    }

    /// Whether a bad exporter is one of those that may be quarantined.
    pub(crate) fn admits(&self, name: &Name, seat: &Seat, config: &QuarantineConfig) -> bool {
        self.pools.get(&seat.pool).is_some_and(|pool| pool.worst(config).any(|worst| worst == name))
    }

    /// How many exporters in service are quarantined.
    pub(crate) fn quarantined(&self) -> usize {
        self.quarantined
    }
}

impl Pool {
    /// The worst, as many as there is room for.
    fn worst(&self, config: &QuarantineConfig) -> impl Iterator<Item = &Name> {
        let room = config.most(self.members).saturating_sub(self.quarantined);
        self.bad.iter().take(room).map(|(_, name)| name)
    }
}
