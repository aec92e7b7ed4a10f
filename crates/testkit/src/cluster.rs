//! The service on Kubernetes: a namespace of a real API server, what an operator puts there, a controller and a router.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use jumpstarter_kube_testkit::{ApiServer, loopback_certificate};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Process, Sandbox,
    service::{LOG, binary, free_address},
};

/// When set to `kubernetes`, [`crate::Lab::start`] makes a lab on Kubernetes.
const SWITCH: &str = "JUMPSTARTER_TEST_ON";
/// The rights that the chart gives to a controller; it gets no others here.
const RULES: &str = include_str!("../../../deploy/helm/jumpstarter/files/controller-rules.yaml");
const ACCOUNT: &str = "jumpstarter-controller-manager";
/// Any text will do: it is never used for signing by us, and required by those who were there before.
const CONTROLLER_KEY: &str = "controller-key-of-the-tests";

/// Whether labs are to be on Kubernetes.
pub(crate) fn wanted() -> bool {
    std::env::var_os(SWITCH).is_some_and(|value| value == "kubernetes")
}

/// One installation of the service.
pub struct Cluster {
    api: &'static ApiServer,
    sandbox: Arc<Sandbox>,
    /// The controllers' way to the API server.
    kubeconfig: PathBuf,
    namespace: String,
    tls: PathBuf,
    router_key: String,
    router: String,
    _router: Process,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A new namespace with everything but the controller, which is to find the API server at `url`.
    #[track_caller]
    pub(crate) fn install(sandbox: &Arc<Sandbox>, api: &'static ApiServer, url: &str) -> Self {
        let namespace = format!("lab-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let _ = api.kubectl(&["create", "namespace", &namespace]);
        let tls = sandbox.dir("tls");
        let ca = loopback_certificate(&tls).pem;
        Self::install_in(sandbox, api, url, namespace, tls, &ca)
    }

    /// The same in a namespace that exists, with the `server.crt` and `server.key` of a directory, signed by `ca`.
    #[track_caller]
    pub(crate) fn install_in(
        sandbox: &Arc<Sandbox>,
        api: &'static ApiServer,
        url: &str,
        namespace: String,
        tls: PathBuf,
        ca: &str,
    ) -> Self {
        let router = free_address();
        // What today's operator writes for an installation without wishes (kubernetes.md §5.2).
        let config = json!({
            "authentication": {
                "internal": { "prefix": "internal:", "tokenLifetime": "43800h0m0s" }, "jwt": [], "k8s": {},
            },
            "grpc": { "keepalive": { "minTime": "1s", "permitWithoutStream": true } },
            "deprecatedLabels": {}, "hiddenLabels": {},
            "leasePolicy": { "maxTags": 10 }, "provisioning": { "enabled": false },
        });
        let map = |name: &str, data: serde_json::Value| {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data }).to_string()
        };
        let objects = [
            map(
                "jumpstarter-controller",
                json!({
                    "config": config.to_string(),
                    "router": json!({ "default": { "endpoint": router } }).to_string(),
                }),
            ),
            map("jumpstarter-service-ca-cert", json!({ "ca.crt": ca })),
        ];
        let objects: Vec<String> = objects.into_iter().chain(account(&namespace)).collect();
        api.kubectl_with(&["apply", "-n", &namespace, "-f", "-"], &objects.join("\n---\n"))
            .unwrap_or_else(|said| panic!("install the service: {said}"));
        let router_key = Uuid::new_v4().to_string();
        let mut command = sandbox.command(&binary("jumpstarter"), "router");
        command
            .args(["router", "--listen", &router])
            .env("JUMPSTARTER_LOG", LOG)
            .env("ROUTER_KEY", &router_key)
            .env("GRPC_ROUTER_ENDPOINT", &router)
            .envs(certificate(&tls));
        let mut process = Process::start(sandbox, "router", command);
        process.wait_line("router is ready");
        let kubeconfig = sandbox.path().join("controller.kubeconfig");
        let token = api.kubectl(&["create", "token", ACCOUNT, "-n", &namespace, "--duration=12h"]);
        api.write_kubeconfig(&kubeconfig, url, Some(token.trim()));
        Self { api, sandbox: Arc::clone(sandbox), kubeconfig, namespace, tls, router_key, router, _router: process }
    }

    /// The API server.
    pub fn api(&self) -> &'static ApiServer {
        self.api
    }

    /// The namespace of the installation.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where its router listens.
    pub fn router(&self) -> &str {
        &self.router
    }

    /// The operator's configuration file.
    pub fn kubeconfig(&self) -> PathBuf {
        self.api.admin_kubeconfig()
    }

    /// One replica of the controller, listening on `listen`, whose clients come to `endpoint`.
    pub(crate) fn controller(&self, listen: &str, endpoint: &str) -> Command {
        let mut command = self.sandbox.command(&binary("jumpstarter"), "controller");
        command
            .stdin(Stdio::null())
            // As today's operator starts it.
            .args(["controller", "--leader-elect", "--health-probe-bind-address=127.0.0.1:0"])
            .args(["-metrics-bind-address=127.0.0.1:0", "--grpc-bind-address", listen])
            .env("JUMPSTARTER_LOG", LOG)
            .env("NAMESPACE", &self.namespace)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("CONTROLLER_KEY", CONTROLLER_KEY)
            .env("ROUTER_KEY", &self.router_key)
            .env("GRPC_ENDPOINT", endpoint)
            .env("LOGIN_SERVICE_PORT", "127.0.0.1:0")
            .env("POD_IP", "127.0.0.1")
            .envs(certificate(&self.tls));
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The server does the rest in its own time; nobody else uses the namespace.
        let _ = self.api.kubectl_with(&["delete", "namespace", &self.namespace, "--wait=false"], "");
    }
}

/// The controllers' service account with its Role.
fn account(namespace: &str) -> Vec<String> {
    let rules: serde_json::Value = serde_saphyr::from_str(RULES).expect("the chart's rules are YAML");
    let rbac = "rbac.authorization.k8s.io";
    let of =
        |api: &str, kind: &str, name: &str| json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name } });
    let mut role = of(&format!("{rbac}/v1"), "Role", "jumpstarter-controller-role");
    role["rules"] = rules;
    let mut binding = of(&format!("{rbac}/v1"), "RoleBinding", "jumpstarter-controller-rolebinding");
    binding["roleRef"] = json!({ "apiGroup": rbac, "kind": "Role", "name": "jumpstarter-controller-role" });
    binding["subjects"] = json!([{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace }]);
    [of("v1", "ServiceAccount", ACCOUNT), role, binding].iter().map(ToString::to_string).collect()
}

fn certificate(dir: &Path) -> [(&'static str, PathBuf); 2] {
    [("EXTERNAL_CERT_PEM", dir.join("server.crt")), ("EXTERNAL_KEY_PEM", dir.join("server.key"))]
}
