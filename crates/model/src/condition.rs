//! Conditions as existing clients read them (kubernetes.md §0, §3).

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::Timestamp;

/// Sets the condition of one type in place: `lastTransitionTime` moves only when `status` changes, a new type goes
/// to the end, and the order of the list never changes. Returns whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let status = if status { "True" } else { "False" };
    let generation = Some(generation.unwrap_or(0));
    if let Some(found) = conditions.iter_mut().find(|condition| condition.type_ == type_) {
        let changed = found.status != status
            || found.reason != reason
            || found.message != message
            || found.observed_generation != generation;
        if found.status != status {
            found.last_transition_time = Time(now);
        }
        status.clone_into(&mut found.status);
        reason.clone_into(&mut found.reason);
        message.clone_into(&mut found.message);
        found.observed_generation = generation;
        return changed;
    }
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: generation,
    });
    true
}

/// Whether the condition of this type is present and `True`.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}
