//! The CRD manifests (kubernetes.md §0, §1): derived from the types, then given the few marks that the derive lacks.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow};

/// The definitions of all kinds, ready to be applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let four = [Client::crd(), Exporter::crd(), ExporterAccessPolicy::crd(), Lease::crd()];
    four.into_iter().chain([LeaseQuota::crd(), MaintenanceWindow::crd()]).map(complete).collect()
}

fn complete(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(root) = schema {
            // `spec` and `status` are optional in all kinds, so nothing is required at the top.
            root.required = None;
            root.title = None;
            visit(root);
        }
    }
    crd
}

/// Marks a schema and everything below it.
fn visit(schema: &mut JSONSchemaProps) {
    // A null counts as absent: an API server drops it before it fills in defaults.
    schema.nullable = None;
    for (name, property) in schema.properties.iter_mut().flatten() {
        visit(property);
        mark(name, property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        visit(items);
    }
}

/// Marks a property that is known by its name.
fn mark(name: &str, property: &mut JSONSchemaProps) {
    match name {
        "clientRef" | "exporterRef" | "leaseRef" | "credential" => local_reference(property),
        "exporterSelector" | "clientSelector" => label_selector(property),
        "selector" => {
            label_selector(property);
            // Manifests of pinned leases may omit it, though it is required.
            property.default = Some(JSON(json!({})));
        }
        "spec" if property.properties.as_ref().is_some_and(|fields| fields.contains_key("clientRef")) => {
            property.required = Some(["clientRef", "selector"].map(str::to_owned).into());
        }
        // A plain integer, in whatever width a reader has.
        "priority" => property.format = None,
        "status" if property.properties.as_ref().is_some_and(|fields| fields.contains_key("ended")) => {
            property.required = Some(vec!["ended".to_owned()]);
        }
        // Written by us always, so a default would only hide that it is missing.
        "ended" | "labels" | "uuid" => property.default = None,
        "enabled" => property.default = Some(JSON(json!(true))),
        "conditions" => {
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut property.items {
                condition(items.properties.get_or_insert_default());
            }
        }
        _ => {}
    }
}

fn local_reference(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_map_type = Some("atomic".to_owned());
    schema.default = None;
    if let Some(name) = schema.properties.get_or_insert_default().get_mut("name") {
        name.default = Some(JSON(json!("")));
    }
}

fn label_selector(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_map_type = Some("atomic".to_owned());
    schema.default = None;
    let Some(expressions) = schema.properties.get_or_insert_default().get_mut("matchExpressions") else {
        return;
    };
    expressions.x_kubernetes_list_type = Some("atomic".to_owned());
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut expressions.items
        && let Some(values) = items.properties.get_or_insert_default().get_mut("values")
    {
        values.x_kubernetes_list_type = Some("atomic".to_owned());
    }
}

/// A qualified name with an optional domain in front, as Kubernetes demands of the type of a condition.
const CONDITION_TYPE: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
     (([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";

/// The bounds that Kubernetes sets on conditions everywhere.
fn condition(properties: &mut BTreeMap<String, JSONSchemaProps>) {
    let mut bound = |name: &str, change: &dyn Fn(&mut JSONSchemaProps)| {
        if let Some(property) = properties.get_mut(name) {
            change(property);
        }
    };
    bound("status", &|status| status.enum_ = Some(["True", "False", "Unknown"].map(|text| JSON(json!(text))).into()));
    bound("reason", &|reason| {
        reason.min_length = Some(1);
        reason.max_length = Some(1024);
        reason.pattern = Some("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$".to_owned());
    });
    bound("message", &|message| message.max_length = Some(32768));
    bound("type", &|type_| {
        type_.max_length = Some(316);
        type_.pattern = Some(CONDITION_TYPE.to_owned());
    });
    bound("observedGeneration", &|generation| generation.minimum = Some(0.0));
}
