//! What the service must be allowed to do, and whether a set of rules allows it: pure.

use std::fmt;

use jumpstarter_store::Kind;
use serde_json::Value;

/// One verb on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name of the resource.
    pub resource: &'static str,
    /// `status`, `finalizers`, or empty.
    pub subresource: &'static str,
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
}

const GROUP: &str = jumpstarter_model::GROUP;

impl Permission {
    /// Everything that the service does through the store.
    pub fn required() -> Vec<Self> {
        const READ: &[&str] = &["get", "list", "watch"];
        let mut all = Vec::new();
        let mut add = |group, resource, subresource, verbs: &[&'static str]| {
            all.extend(verbs.iter().map(|verb| Self { group, resource, subresource, verb }));
        };
        add("", "configmaps", "", READ);
        add("", "secrets", "", READ);
        add("", "secrets", "", &["create", "update"]);
        add(GROUP, "clients", "", READ);
        add(GROUP, "clients", "status", &["update"]);
        add(GROUP, "exporters", "", READ);
        add(GROUP, "exporters", "", &["update"]);
        add(GROUP, "exporters", "status", &["update"]);
        add(GROUP, "leases", "", READ);
        add(GROUP, "leases", "", &["create", "update", "delete"]);
        add(GROUP, "leases", "status", &["update"]);
        add(GROUP, "exporteraccesspolicies", "", &["list", "watch"]);
        all
    }

    /// What the service can do without, and what is then not done.
    pub fn optional() -> Vec<(Self, &'static str)> {
        let event = |verb| Self { group: "", resource: "events", subresource: "", verb };
        let owner = |resource| Self { group: GROUP, resource, subresource: "finalizers", verb: "update" };
        let quiet = "no Events about objects are written";
        let unowned = "where the API server enforces permissions of owner references, it refuses Secrets and leases";
        let of = |resource, verb| Self { group: GROUP, resource, subresource: "", verb };
        let free = "lease quotas are not looked at";
        let open = "maintenance windows are not looked at";
        let judged = Self { group: GROUP, resource: "maintenancewindows", subresource: "status", verb: "update" };
        let mute = "maintenance windows that make no sense do not say so in their status";
        vec![
            (of("leasequotas", "list"), free),
            (of("leasequotas", "watch"), free),
            (of("maintenancewindows", "list"), open),
            (of("maintenancewindows", "watch"), open),
            (judged, mute),
            (event("create"), quiet),
            (event("patch"), quiet),
            (owner("clients"), unowned),
            (owner("exporters"), unowned),
        ]
    }

    /// The optional kind that cannot be read without this permission.
    pub(crate) fn reads(&self) -> Option<Kind> {
        let reads = self.group == GROUP && self.subresource.is_empty() && matches!(self.verb, "list" | "watch");
        Kind::from_plural(self.resource).filter(|kind| reads && kind.is_optional())
    }

    /// Whether one of the rules of a `SelfSubjectRulesReview` grants it for all objects.
    pub(crate) fn is_granted(&self, rules: &[Value]) -> bool {
        let path = self.path();
        rules.iter().any(|rule| {
            let names = rule["resourceNames"].as_array().is_none_or(Vec::is_empty);
            names
                && holds(&rule["apiGroups"], |group| group == self.group || group == "*")
                && holds(&rule["resources"], |resource| {
                    let any = resource.strip_prefix("*/").is_some_and(|sub| sub == self.subresource);
                    resource == path || resource == "*" || any
                })
                && holds(&rule["verbs"], |verb| verb == self.verb || verb == "*")
        })
    }

    fn path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// As people write it in a Role: ``update leases.jumpstarter.dev/status``.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        Ok(())
    }
}

fn holds(list: &Value, wanted: impl Fn(&str) -> bool) -> bool {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).any(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(rule: Value, granted: bool) {
        let status = Permission { group: GROUP, resource: "leases", subresource: "status", verb: "update" };
        assert_eq!(status.is_granted(&[rule]), granted);
    }

    #[test]
    fn rules_grant_as_rbac_does() {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
        check(rule(&[GROUP], &["leases/status"], &["get", "update"]), true);
        check(rule(&["*"], &["*"], &["*"]), true);
        check(rule(&[GROUP], &["*/status"], &["update"]), true);
        check(rule(&[GROUP], &["leases"], &["update"]), false);
        check(rule(&["coordination.k8s.io"], &["leases/status"], &["update"]), false);
        check(rule(&[GROUP], &["leases/status"], &["patch"]), false);
        let mut named = rule(&[GROUP], &["leases/status"], &["update"]);
        named["resourceNames"] = json!(["one"]);
        check(named, false);
        let secrets = Permission { group: "", resource: "secrets", subresource: "", verb: "get" };
        assert!(secrets.is_granted(&[rule(&[""], &["secrets"], &["get"])]));
        assert!(!secrets.is_granted(&[rule(&["", "apps"], &[""], &["get"])]));
    }
}
