//! The access policies of the lab: as objects for the service, as a table for the checker.

use std::cmp::Reverse;

use jumpstarter_model::{ExporterAccessPolicy, ExporterAccessPolicySpec, GoDuration};
use serde_json::json;

use crate::plan::Faults;

/// Longest lease that the one rule with a limit admits, in seconds.
const LIMIT: i64 = 240;

/// What a client may do with an exporter; the least is the best, and the rules of the lab give nothing better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    /// Only until somebody with full access needs the exporter.
    pub(crate) spot: bool,
    /// The priority of the rule.
    pub(crate) priority: Reverse<i64>,
}

/// One rule of a policy: the team, its priority, whether it is for spot access, and the longest lease in seconds.
type Rule = (&'static str, i64, bool, Option<i64>);

/// The labels by which policies know exporters.
const POOLS: [&str; 2] = ["a", "b"];
/// The labels by which policies know clients; the last has spot access alone, or next to nothing else.
const TEAMS: [&str; 3] = ["red", "blue", "green"];

fn rules(pool: &str, spot: bool) -> &'static [Rule] {
    match (pool, spot) {
        ("a", false) => &[("red", 10, false, None), ("blue", 0, false, None)],
        ("b", false) => &[("red", 0, false, None), ("blue", 5, false, None)],
        ("a", true) => &[
            ("red", 10, false, None),
            ("blue", 5, true, None),
            ("green", 0, false, Some(LIMIT)),
            ("green", 12, true, None),
        ],
        ("b", true) => &[("red", 7, true, None), ("blue", 5, false, None), ("green", 1, true, None)],
        _ => &[],
    }
}

/// The team of the client of this number.
pub(crate) fn team(faults: &Faults, number: usize) -> &'static str {
    TEAMS[number % if faults.spot { 3 } else { 2 }]
}

/// The policies that are in force.
pub(crate) fn objects(faults: &Faults) -> Vec<ExporterAccessPolicy> {
    let policy = |pool: &str| {
        let rules = rules(pool, faults.spot).iter().map(|(team, priority, spot, longest)| {
            let mut rule = json!({
                "priority": priority,
                "spotAccess": spot,
                "from": [{ "clientSelector": { "matchLabels": { "team": team } } }],
            });
            if let Some(longest) = longest {
                rule["maximumDuration"] = json!(format!("{longest}s"));
            }
            rule
        });
        let spec = json!({
            "exporterSelector": { "matchLabels": { "pool": pool } },
            "policies": rules.collect::<Vec<_>>(),
        });
        let spec: ExporterAccessPolicySpec = serde_json::from_value(spec).expect("the policy is one");
        ExporterAccessPolicy::new(&format!("pool-{pool}"), spec)
    };
    if faults.policies { POOLS.map(policy).into() } else { Vec::new() }
}

/// What they give to a client of this team for so long at an exporter of this pool.
pub(crate) fn grant(faults: &Faults, pool: &str, team: &str, length: GoDuration) -> Option<Grant> {
    if !faults.policies {
        return Some(Grant { spot: false, priority: Reverse(0) });
    }
    let within = |longest: Option<i64>| longest.is_none_or(|longest| length.to_signed().as_secs() <= longest);
    let admits = rules(pool, faults.spot).iter().filter(|(of, .., longest)| *of == team && within(*longest));
    admits.map(|(_, priority, spot, _)| Grant { spot: *spot, priority: Reverse(*priority) }).min()
}
