//! Releases on a real API server: what survives upgrades, and what is taken over.

use jumpstarter_deploy::{Chart, chart, find, helm};
use jumpstarter_kube_testkit::ApiServer;
use serde_json::{Value, json};

struct Release {
    server: &'static ApiServer,
    namespace: String,
}

impl Release {
    async fn new() -> Self {
        let server = ApiServer::shared().await;
        Self { server, namespace: server.namespace("release").await }
    }

    /// Runs `helm VERB jumpstarter …`.
    fn helm(&self, verb: &str, more: &[&str]) -> Result<String, String> {
        let kubeconfig = self.server.admin_kubeconfig().display().to_string();
        let common = [verb, "jumpstarter", "--namespace", &self.namespace, "--kubeconfig", &kubeconfig];
        helm(&[&common, more].concat())
    }

    fn install(&self, more: &[&str]) -> Result<String, String> {
        self.helm("install", &[&[chart().as_str()], more].concat())
    }

    fn upgrade(&self, more: &[&str]) -> Result<String, String> {
        self.helm("upgrade", &[&[chart().as_str()], more].concat())
    }

    fn create(&self, object: &Value) {
        let args = ["-n", &self.namespace, "create", "-f", "-"];
        self.server.kubectl_with(&args, &object.to_string()).unwrap_or_else(|said| panic!("create: {said}"));
    }

    fn get(&self, what: &str, name: &str) -> Value {
        let text = self.server.kubectl(&["-n", &self.namespace, "get", what, name, "-o", "json"]);
        serde_json::from_str(&text).expect("an object")
    }

    fn router_key(&self) -> Value {
        self.get("secret", "jumpstarter-router-secret")["data"]["key"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_the_tickets_is_made_once() {
    let release = Release::new().await;
    let notes = release.install(&[]).expect("a release");
    assert!(notes.contains("--insecure-tls"), "{notes}");
    let key = release.router_key();
    assert!(key.as_str().is_some_and(|key| key.len() >= 44), "{key}");
    release.upgrade(&["--set", "routers.count=3"]).expect("an upgrade");
    assert_eq!(release.router_key(), key);
    release.helm("uninstall", &[]).expect("the end");
    assert_eq!(release.router_key(), key, "the key outlives the release");
    release.install(&[]).expect("a new release");
    assert_eq!(release.router_key(), key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_tool_has_made_is_taken_over() {
    let release = Release::new().await;
    release.create(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "jumpstarter-router-secret" },
        "stringData": { "key": "the key that is in use" },
    }));
    release.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "jumpstarter-service-ca-cert" },
        "data": { "ca.crt": "the CA that is in use" },
    }));
    // As existing labs have it: the labels are part of the selector, which cannot be changed.
    let mut deployment =
        find(&Chart::new().objects_in(&release.namespace), "Deployment", "jumpstarter-router-0").clone();
    deployment["metadata"] = json!({ "name": "jumpstarter-router-0" });
    deployment["spec"]["template"]["metadata"]["labels"] = deployment["spec"]["selector"]["matchLabels"].clone();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("another/image:1");
    release.create(&deployment);

    let said = release.install(&[]).expect_err("Helm does not take what is not its own unasked");
    assert!(said.contains("cannot be imported into the current release"), "{said}");
    release.install(&["--take-ownership"]).expect("a release over the existing objects");
    let secret = release.router_key();
    assert_eq!(secret, "dGhlIGtleSB0aGF0IGlzIGluIHVzZQ==");
    assert_eq!(release.get("configmap", "jumpstarter-service-ca-cert")["data"]["ca.crt"], "the CA that is in use");
    let deployment = release.get("deployment", "jumpstarter-router-0");
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "jumpstarter:0.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ca_that_was_made_is_published_by_the_next_upgrade() {
    let release = Release::new().await;
    release.install(&[]).expect("a release");
    assert_eq!(release.get("configmap", "jumpstarter-service-ca-cert")["data"]["ca.crt"], "");
    // cert-manager is not here, so its Secret is written by hand and its objects are left out.
    release.create(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "jumpstarter-ca" },
        "stringData": { "tls.crt": "the new CA" },
    }));
    let dry =
        release.upgrade(&["--dry-run=server", "--set", "tls.certManager.enabled=true", "--disable-openapi-validation"]);
    let text = match dry {
        Ok(text) => text,
        Err(said) => {
            // Without its definitions Helm stops at the Certificates; the values can still be rendered against the server.
            assert!(said.contains("cert-manager.io/v1"), "{said}");
            let kubeconfig = release.server.admin_kubeconfig().display().to_string();
            helm(&[
                "template",
                "jumpstarter",
                &chart(),
                "--namespace",
                &release.namespace,
                "--kubeconfig",
                &kubeconfig,
                "--dry-run=server",
                "--set",
                "tls.certManager.enabled=true",
            ])
            .expect("manifests")
        }
    };
    assert!(text.contains("ca.crt: \"the new CA\""), "{text}");
}
