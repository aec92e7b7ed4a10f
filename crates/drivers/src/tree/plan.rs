//! Which part of a tree runs outside.
use std::collections::BTreeSet;

use jumpstarter_config::{DriverInstance, Instances};

use crate::Registry;

use super::proxy_target;

/// Names from the root to a node.
type Path = Vec<String>;

/// The tops of the subtrees that a host runs.
///
/// A subtree goes outside whole, since a driver there calls its children directly, and what it refers to goes
/// with it for the same reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan(BTreeSet<Path>);

impl Plan {
    pub(super) fn new(export: &Instances, registry: &Registry) -> Self {
        let mut plan = Self::default();
        plan.foreign(export, registry, &mut Vec::new());
        loop {
            let wanted = plan.references(export);
            let Some(next) = wanted.into_iter().filter_map(|target| locate(export, &target)).find(|t| !plan.covers(t))
            else {
                return plan;
            };
            plan.0.retain(|path| !path.starts_with(&next));
            plan.0.insert(next);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The node at `path` (dotted) is the top of a hosted subtree.
    pub(super) fn is_top(&self, path: &str) -> bool {
        self.0.contains(&path.split('.').map(str::to_owned).collect::<Path>())
    }

    /// The hosted subtrees at their places, groups in place of everything else.
    pub(super) fn skeleton(&self, export: &Instances) -> Instances {
        self.prune(export, &mut Vec::new())
    }

    fn covers(&self, path: &Path) -> bool {
        self.0.iter().any(|top| path.starts_with(top))
    }

    fn foreign(&mut self, instances: &Instances, registry: &Registry, path: &mut Path) {
        for (name, instance) in instances.iter() {
            path.push(name.to_owned());
            match instance {
                DriverInstance::Driver { r#type, config, .. }
                    if proxy_target(instance).is_none() && registry.is_foreign(r#type, config) =>
                {
                    self.0.insert(path.clone());
                }
                _ => self.foreign_children(instance, registry, path),
            }
            path.pop();
        }
    }

    fn foreign_children(&mut self, instance: &DriverInstance, registry: &Registry, path: &mut Path) {
        if let Some(children) = children(instance) {
            self.foreign(children, registry, path);
        }
    }

    /// What hosted subtrees refer to.
    fn references(&self, export: &Instances) -> Vec<String> {
        let mut found = Vec::new();
        for top in &self.0 {
            if let Some(instance) = top.split_first().and_then(|(first, rest)| {
                rest.iter().try_fold(export.get(first)?, |instance, step| children(instance)?.get(step))
            }) {
                references(instance, &mut found);
            }
        }
        found
    }

    fn prune(&self, instances: &Instances, path: &mut Path) -> Instances {
        let mut kept = Vec::new();
        for (name, instance) in instances.iter() {
            path.push(name.to_owned());
            if self.0.contains(path) {
                kept.push((name.to_owned(), instance.clone()));
            } else if self.0.iter().any(|top| top.starts_with(path))
                && let Some(children) = children(instance)
            {
                kept.push((name.to_owned(), DriverInstance::Composite { children: self.prune(children, path) }));
            }
            path.pop();
        }
        kept.into_iter().collect()
    }
}

fn children(instance: &DriverInstance) -> Option<&Instances> {
    match instance {
        DriverInstance::Driver { children, .. } | DriverInstance::Composite { children } => Some(children),
        DriverInstance::Proxy { .. } => None,
    }
}

fn references(instance: &DriverInstance, found: &mut Vec<String>) {
    if let Some(target) = proxy_target(instance) {
        found.push(target.to_owned());
    } else if let Some(children) = children(instance) {
        children.iter().for_each(|(_, child)| references(child, found));
    }
}

/// The node at the dotted path `target`, or the driver above it that brings children of its own.
fn locate(export: &Instances, target: &str) -> Option<Path> {
    let mut path = Path::new();
    let mut level = Some(export);
    let mut above: Option<&DriverInstance> = None;
    for step in target.split('.') {
        match level.and_then(|instances| instances.get(step)) {
            Some(instance) => {
                path.push(step.to_owned());
                above = Some(instance);
                level = children(instance);
            }
            None => {
                return matches!(above, Some(DriverInstance::Driver { .. })).then_some(path);
            }
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use jumpstarter_config::{Env, ExporterConfig};

    use super::*;

    fn plan(export: &str) -> (Vec<String>, String) {
        let yaml = format!("metadata: {{namespace: lab, name: e}}\nexport: {export}\n");
        let export = ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap().export;
        let plan = Plan::new(&export, &Registry::builtin());
        let shape = serde_json::to_value(plan.skeleton(&export)).unwrap();
        (plan.0.iter().map(|path| path.join(".")).collect(), shape.to_string())
    }

    const POWER: &str = "{type: jumpstarter_driver_power.driver.MockPower}";

    #[test]
    fn unknown_classes_go_outside_with_all_below_and_all_they_refer_to() {
        let foreign = format!("{{type: a.B, children: {{p: {POWER}, q: {{ref: g.power}}}}}}");
        let other = format!("{{type: c.D, children: {{r: {POWER}}}}}");
        let export = format!(
            "{{x: {{children: {{v: {foreign}}}}}, g: {{children: {{power: {POWER}, o: {POWER}}}}}, z: {other}, m: {POWER}}}"
        );
        let (tops, shape) = plan(&export);
        assert_eq!(tops, ["g.power", "x.v", "z"]);
        assert!(!shape.contains("\"m\"") && !shape.contains("\"o\""), "{shape}");
        // References into hosted subtrees and from built-in nodes change nothing.
        assert_eq!(plan(&format!("{{z: {other}, w: {{ref: z.r}}, m: {POWER}}}")).0, ["z"]);
        assert_eq!(plan(&format!("{{m: {POWER}, w: {{ref: m}}}}")).0, [""; 0]);
        // A chain of references, and one to what a driver makes itself.
        let chain = format!("{{a: {{type: a.B, children: {{c: {{ref: b}}}}}}, b: {{ref: d.own}}, d: {POWER}}}");
        assert_eq!(plan(&chain).0, ["a", "b", "d"]);
        assert_eq!(plan("{a: {type: a.B, children: {c: {ref: nowhere.x}}}}").0, ["a"]);
    }
}
