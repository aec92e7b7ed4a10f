//! The Helm chart and the kustomization: what they make, what they refuse, and that an API server takes it.

mod apply;
mod generated;
mod install;
mod objects;
mod values;
