//! What is remembered of how an exporter's leases went: enough to judge it after a restart, and no more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the leases of an exporter went of late, as far as that was its own doing. Additive: other controllers know
/// nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExporterHealth {
    /// 0 when its leases go well, towards 100 the more of the last ones failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub score: i32,
    /// Whether it has ever reported that a session was ready: of one that never does, silence means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reports_sessions: bool,
    /// How the lease goes that it holds, or held last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionHealth>,
    /// The last failures, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<LeaseFailure>,
    /// The automatic quarantine in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// The automatic quarantine before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_quarantine: Option<PastQuarantine>,
    /// The check under way, or its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<HealthCheck>,
    /// The last request of an operator to lift the quarantine that was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift_heeded: Option<String>,
    /// The last request of an operator for a check that was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_heeded: Option<String>,
}

/// How one lease goes, as seen from its exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionHealth {
    /// Name of the lease.
    pub lease: String,
    /// Whether the exporter has reported that the session is ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// Whether it was counted as a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Whether the lease is over, went well, and only the tear-down is still awaited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
}

/// A lease that failed by the exporter's doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseFailure {
    /// Name of the lease; empty where that is not known.
    #[serde(default)]
    pub lease: String,
    /// `BeforeLeaseHookFailed`, `AfterLeaseHookFailed`, `NeverReady` or `ConnectionLost`.
    pub reason: String,
    /// When it was noticed.
    pub time: Option<Time>,
    /// What the exporter said, cut short.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// An exporter is not given out for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// When it is checked, or given out again.
    pub until: Option<Time>,
    /// Which one in a row this is, 1 being the first.
    #[serde(default)]
    pub times: i32,
}

/// A quarantine that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastQuarantine {
    /// When it ended.
    pub ended: Option<Time>,
    /// Which one in a row it was.
    #[serde(default)]
    pub times: i32,
}

/// A maintenance lease that shows whether the exporter works.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Name of the lease.
    pub lease: String,
    /// Whether it went well, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
