//! The quotas of the lab: as objects for the service, as numbers for the checker.

use jumpstarter_model::{LeaseQuota, LeaseQuotaSpec};
use serde_json::json;

use crate::plan::Plan;

/// Most device time of a client in the pool that this counts, within [`PERIOD`], in seconds: more than any lease asks for.
pub(crate) const TIME: i64 = 1_000;
/// See [`TIME`]; ended leases are kept for longer.
pub(crate) const PERIOD: i64 = 600;
/// The pool of exporters in which device time is counted.
pub(crate) const TIMED_POOL: &str = "a";

/// Most devices of a team at once, if there is such a cap.
pub(crate) fn devices(plan: &Plan) -> Option<usize> {
    plan.faults.quotas.then_some(1 + plan.exporters / 3)
}

/// The quotas that are in force.
pub(crate) fn objects(plan: &Plan) -> Vec<LeaseQuota> {
    let quota = |(name, spec)| {
        let spec: LeaseQuotaSpec = serde_json::from_value(spec).expect("the quota is one");
        LeaseQuota::new(name, spec)
    };
    let shares = json!({ "accountBy": "Label", "accountLabel": "team", "weight": 1 });
    let shares = plan.faults.shares.then(|| quota(("shares", shares)));
    let Some(most) = devices(plan) else { return shares.into_iter().collect() };
    let teams = json!({ "accountBy": "Label", "accountLabel": "team", "maxDevices": most });
    let clients = json!({
        "exporterSelector": { "matchLabels": { "pool": TIMED_POOL } },
        "maxDeviceTime": format!("{TIME}s"),
        "period": format!("{PERIOD}s"),
    });
    [("teams", teams), ("clients", clients)].map(quota).into_iter().chain(shares).collect()
}
