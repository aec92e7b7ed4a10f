//! Maintenance windows that the API server takes and that make no sense all the same.

use jumpstarter_testkit::{Lab, MINUTE, eventually};
use serde_json::{Value, json};

#[test]
fn a_window_that_makes_no_sense_says_so_in_its_status_until_it_is_mended() {
    let lab = Lab::on_kubernetes();
    let cluster = lab.service.cluster().unwrap();
    let apply = |schedule: &str| {
        let window = json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "MaintenanceWindow", "metadata": { "name": "night" },
            "spec": { "exporters": ["rig"], "schedule": schedule, "duration": "1h" },
        });
        cluster.api().kubectl_with(&["-n", cluster.namespace(), "apply", "-f", "-"], &window.to_string()).unwrap();
    };
    let get = ["get", "maintenancewindows", "night", "-n", cluster.namespace(), "-o", "json"];
    let told = |status: &str| {
        eventually("the condition", MINUTE, || {
            let window: Value = serde_json::from_str(&cluster.api().kubectl(&get)).ok()?;
            let told = window["status"]["conditions"][0].clone();
            (told["type"] == "Invalid" && told["status"] == status).then_some(told)
        })
    };
    apply("whenever");
    assert_eq!(told("True")["reason"], "BadSchedule");
    let _ = lab.admin(&["get", "windows"]).ok().says("<invalid>").says("blocks nothing");
    apply("0 22 * * 5");
    assert_eq!(told("False")["reason"], "Valid");
}
