//! The rules of the chart's Role, one right at a time.

use std::collections::BTreeSet;

use jumpstarter_deploy::{Chart, find};
use jumpstarter_store_kubernetes::Permission;
use serde_json::Value;

/// `VERB RESOURCE.GROUP[/SUBRESOURCE]`, and a name in brackets where only that object is meant.
pub(crate) type Right = String;

/// What is asked of whoever makes an owner wait for its dependents, or gives an object another owner, where the cluster
/// enforces that. These are questions to the authorizer and no requests, so no log shows them; the move of a lab to
/// Kubernetes fails without them.
const OWNERS: [&str; 3] =
    ["update clients.jumpstarter.dev/finalizers", "update exporters.jumpstarter.dev/finalizers", "delete secrets"];
/// The lock of the replicas.
const LOCK: &str = "a38b78e7.jumpstarter.dev";

/// All rights of the Role that the chart makes, but for those that no request needs.
pub(crate) fn granted() -> BTreeSet<Right> {
    let mut rights = role();
    for right in OWNERS {
        assert!(rights.remove(right), "{right} is not granted");
    }
    rights
}

fn role() -> BTreeSet<Right> {
    let objects = Chart::new().objects();
    let rules = find(&objects, "Role", "jumpstarter-controller-role")["rules"].as_array().expect("rules");
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules {
        let names = texts(&rule["resourceNames"]);
        for verb in texts(&rule["verbs"]) {
            for resource in texts(&rule["resources"]) {
                for group in texts(&rule["apiGroups"]) {
                    let right = right(&verb, &group, &resource);
                    let named: Vec<Right> = names.iter().map(|name| format!("{right} [{name}]")).collect();
                    let added = if named.is_empty() { vec![right] } else { named };
                    for right in added {
                        assert!(rights.insert(right.clone()), "{right} is granted twice");
                    }
                }
            }
        }
    }
    rights
}

/// Writes one right down.
pub(crate) fn right(verb: &str, group: &str, resource: &str) -> Right {
    let (resource, subresource) = resource.split_once('/').map_or((resource, ""), |(resource, sub)| (resource, sub));
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    format!("{verb} {resource}{group}{subresource}")
}

#[test]
fn the_role_is_what_the_service_says_that_it_needs() {
    let optional = Permission::optional().into_iter().map(|(permission, _)| permission);
    let mut said: BTreeSet<Right> =
        Permission::required().into_iter().chain(optional).map(|permission| permission.to_string()).collect();
    said.extend(OWNERS.map(str::to_owned));
    let lock = |verb: &str| right(verb, "coordination.k8s.io", "leases");
    said.extend(["get", "list", "watch", "update"].map(|verb| format!("{} [{LOCK}]", lock(verb))));
    said.insert(lock("create"));
    assert_eq!(role(), said);
}
