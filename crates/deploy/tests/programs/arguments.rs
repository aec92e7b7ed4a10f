//! A release of the chart whose pods run on this machine.

use std::{os::unix::fs::symlink, process::Command};

use jumpstarter_deploy::{Chart, deploy, find};
use jumpstarter_kube_testkit::ApiServer;
use jumpstarter_testkit::{Process, Sandbox, service::binary};
use serde_json::{Value, json};

/// The first container of a Deployment.
fn container<'a>(objects: &'a [Value], deployment: &str) -> &'a Value {
    &find(objects, "Deployment", deployment)["spec"]["template"]["spec"]["containers"][0]
}

/// The command of a container, under the name that it has in the image, on ports that are free.
fn command(sandbox: &Sandbox, container: &Value, entry: &str) -> Command {
    let program = sandbox.dir("image").join(entry);
    if !program.exists() {
        symlink(binary("jumpstarter"), &program).expect("make an entry point");
    }
    let mut command = sandbox.command(&program, entry);
    for argument in container["args"].as_array().expect("arguments") {
        let text = argument.as_str().expect("a text");
        let free = match text.split_once("=:") {
            Some((flag, _)) => format!("{flag}=127.0.0.1:0"),
            None => text.to_owned(),
        };
        command.arg(free);
    }
    for variable in container["env"].as_array().expect("an environment") {
        if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
            command.env(name, value);
        }
    }
    command.env("ROUTER_KEY", "a key of the tests, long enough");
    command
}

#[test]
fn a_router_takes_what_the_chart_gives_it() {
    let mut chart = Chart::new().set("routers.drainSeconds=1");
    for key in ["intervalTime", "timeout", "maxConnectionIdle", "maxConnectionAge", "maxConnectionAgeGrace"] {
        chart = chart.set(&format!("config.grpc.keepalive.{key}=1h"));
    }
    let objects = chart.objects();
    let container = container(&objects, "jumpstarter-router-1");
    assert_eq!(container["command"], json!(["/router"]));
    let sandbox = Sandbox::new();
    let mut process = Process::start(&sandbox, "router", command(&sandbox, container, "router"));
    process.wait_line("router is ready");
}

#[test]
fn a_controller_takes_what_the_chart_gives_it() {
    let api = ApiServer::shared_blocking();
    let namespace = format!("pods-{}", std::process::id());
    let _ = api.kubectl(&["create", "namespace", &namespace]);
    let chart = Chart::new().set("controller.leaseRetention=24h");
    let manifests = chart.manifests(&namespace).expect("manifests");
    api.kubectl_with(&["apply", "--server-side", "-n", &namespace, "-f", "-"], &manifests).expect("a release");
    let objects = chart.objects_in(&namespace);
    let sandbox = Sandbox::new();
    let token = api.kubectl(&["create", "token", "jumpstarter-controller-manager", "-n", &namespace]);
    let kubeconfig = api.kubeconfig(sandbox.path(), token.trim());
    let mut command = command(&sandbox, container(&objects, "jumpstarter-controller"), "manager");
    command
        .arg("--grpc-bind-address=127.0.0.1:0")
        .env("LOGIN_SERVICE_PORT", "127.0.0.1:0")
        .env("KUBECONFIG", kubeconfig)
        .env("NAMESPACE", &namespace)
        .env("POD_IP", "127.0.0.1");
    let mut process = Process::start(&sandbox, "manager", command);
    process.wait_line("jumpstarter is ready");
    let said = process.output();
    assert!(!said.contains("not allowed"), "{said}");
    drop(process);
    let _ = api.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
}

#[test]
fn the_program_prints_the_committed_definitions() {
    let output = Command::new(binary("jumpstarter")).arg("crds").output().expect("start the program");
    let printed = String::from_utf8(output.stdout).expect("text");
    let wanted =
        ["clients", "exporters", "exporteraccesspolicies", "leases", "leasequotas", "maintenancewindows"].map(|name| {
            let text = std::fs::read_to_string(deploy(&format!("crds/{name}.yaml"))).expect("a definition");
            format!("---\n{text}")
        });
    assert_eq!(printed, wanted.concat());
}

#[test]
fn versions_are_those_of_the_programs() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = std::fs::read_to_string(deploy("helm/jumpstarter/Chart.yaml")).expect("the chart");
    assert!(chart.contains(&format!("\nversion: {version}\nappVersion: {version}\n")), "{chart}");
    let image = std::fs::read_to_string(deploy("../Containerfile")).expect("the image");
    assert!(image.contains(&format!("\nARG VERSION={version}\n")), "{image}");
}
