//! `MaintenanceWindow`: times at which exporters are not given out, once or again and again.

#![allow(clippy::duplicated_attributes, reason = "each printer column is one attribute")]
#![expect(unreachable_pub, reason = "the schema derive repeats the struct inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;

/// When which exporters are not given out.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "MaintenanceWindow",
    plural = "maintenancewindows",
    singular = "maintenancewindow",
    namespaced,
    status = "MaintenanceWindowStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Times at which exporters are not given out",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Start", type_ = "string", json_path = ".spec.start"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".spec.duration"),
    printcolumn(name = "Invalid", type_ = "string", json_path = r#".status.conditions[?(@.type=="Invalid")].status"#),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Invalid")].message"#,
        priority = 1
    )
)]
#[x_kube(
    validation = Rule::new(crate::window::TARGET_CEL).message(crate::window::TARGET_MESSAGE),
    validation = Rule::new(crate::window::TIME_CEL).message(crate::window::TIME_MESSAGE),
    validation = Rule::new(crate::window::ZONE_CEL).message(crate::window::ZONE_MESSAGE),
    validation = Rule::new(crate::window::DURATION_CEL).message(crate::window::DURATION_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindowSpec {
    /// Exporters with these labels; an empty selector is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_selector: Option<LabelSelector>,
    /// Exporters by name, beside those with the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 1000))]
    pub exporters: Option<Vec<String>>,
    /// When the window opens, again and again: minute, hour, day of month, month and day of week, as in a `CronJob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 256))]
    pub schedule: Option<String>,
    /// The time zone of the schedule, by its name in the IANA database; UTC without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 64))]
    pub time_zone: Option<String>,
    /// When the window opens, once, in place of a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// How long it stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 64))]
    pub duration: Option<GoDuration>,
    /// Shown to those who wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 256))]
    pub reason: Option<String>,
    /// Clients that may have the exporters all the same; without it nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_selector: Option<LabelSelector>,
}

/// What the controller says of it: nothing, unless it makes no sense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindowStatus {
    /// `Invalid`: whether it blocks nothing since it makes no sense, and what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
