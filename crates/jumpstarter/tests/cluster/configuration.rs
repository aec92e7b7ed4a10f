//! What is wrong with a configuration is said, with exit code 2.

use jumpstarter_kube_testkit::ApiServer;

use crate::kit::{ELECT, Installation, Process, binary};

#[track_caller]
fn check(process: &Process, code: Option<i32>, texts: &[&str]) {
    let said = process.said();
    assert_eq!(code, Some(2), "{said}");
    for text in texts {
        assert!(said.contains(text), "`{text}` is missing:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_config_map_is_named() {
    let lab = Installation::empty(ApiServer::shared().await).await;
    let mut replica = lab.replica(&ELECT);
    let code = replica.ends().await.code();
    let name = format!("ConfigMap {}/jumpstarter-controller is missing", lab.namespace);
    check(&replica, code, &[&name, "Helm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_named() {
    let lab = Installation::empty(ApiServer::shared().await).await;
    lab.configure("leasePolicy: {maxTagz: 3}\n");
    let mut replica = lab.replica(&ELECT);
    let code = replica.ends().await.code();
    check(&replica, code, &["maxTagz", "jumpstarter-controller"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_environment_are_told_together() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let mut command = lab.command(&binary());
    command
        .args(["controller", "--leader-elect"])
        .env_remove("NAMESPACE")
        .env("ROUTER_KEY", "")
        .env("GRPC_ENDPOINT", "x");
    let mut replica = Process::start(command);
    let code = replica.ends().await.code();
    check(&replica, code, &["NAMESPACE", "ROUTER_KEY", "GRPC_ENDPOINT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_files_are_named() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let mut command = lab.command(&binary());
    command.arg("controller").env("EXTERNAL_CERT_PEM", "/nowhere.crt").env("EXTERNAL_KEY_PEM", "/nowhere.key");
    let mut replica = Process::start(command);
    let code = replica.ends().await.code();
    check(&replica, code, &["EXTERNAL_CERT_PEM", "/nowhere.crt"]);

    let mut replica = lab.replica(&["-kubeconfig", "/nowhere.kubeconfig"]);
    let code = replica.ends().await.code();
    check(&replica, code, &["--kubeconfig", "/nowhere.kubeconfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_custom_resources_are_named_with_the_way_to_install_them() {
    let api = ApiServer::start().await;
    let lab = Installation::new(&api).await;
    let _ = api.kubectl(&["delete", "crd", "leases.jumpstarter.dev", "--wait"]);
    let mut replica = lab.replica(&ELECT);
    let code = replica.ends().await.code();
    check(&replica, code, &["leases.jumpstarter.dev", "jumpstarter crds"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_named() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let token = lab.api.service_account(&lab.namespace, "nobody").await;
    let kubeconfig = lab.api.kubeconfig(lab.path(), &token);
    let mut replica = lab.replica(&["--kubeconfig", kubeconfig.to_str().unwrap()]);
    let code = replica.ends().await.code();
    check(&replica, code, &["leases", "update", "Role"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_do_not_fit_are_told() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let mut replica = lab.replica(&["--leader-election-lease-duration=3s", "--presence-grace=1m"]);
    let code = replica.ends().await.code();
    check(&replica, code, &["--leader-election", "--presence-grace"]);
}
