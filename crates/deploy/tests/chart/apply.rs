//! What the chart makes, applied to a real API server.

use jumpstarter_deploy::{Chart, kustomize, objects};
use jumpstarter_kube_testkit::ApiServer;
use serde_json::{Value, json};

fn apply(server: &ApiServer, namespace: &str, manifests: &str) -> Result<String, String> {
    server.kubectl_with(&["apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-"], manifests)
}

/// JSON is YAML, and `kubectl` reads a list.
fn list(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_takes_every_way_in() {
    let server = ApiServer::shared().await;
    for way in ["ClusterIP", "Ingress", "NodePort", "LoadBalancer"] {
        let namespace = server.namespace("chart").await;
        let chart = Chart::new()
            .set(&format!("expose.type={way}"))
            .set("baseDomain=lab.example.com")
            .set("expose.ingress.className=nginx")
            .set("expose.loadBalancer.sourceRanges={192.0.2.0/24}")
            .set("networkPolicy.enabled=true")
            .set("networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring")
            .set("tls.controllerSecret=controller-cert")
            .set("tls.routerSecret=router-$(replica)-cert");
        let manifests = chart.manifests(&namespace).expect("manifests");
        for turn in ["first", "second"] {
            apply(server, &namespace, &manifests).unwrap_or_else(|said| panic!("{way}, {turn} time: {said}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_takes_the_kustomization() {
    let server = ApiServer::start().await;
    let _ = server.kubectl(&["create", "namespace", "jumpstarter"]);
    for (folder, skipped) in [("base", ""), ("overlays/nodeport", ""), ("overlays/cert-manager", "cert-manager.io/v1")]
    {
        let objects: Vec<Value> =
            kustomize(folder).into_iter().filter(|object| object["apiVersion"] != skipped).collect();
        let args = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"];
        server.kubectl_with(&args, &list(&objects)).unwrap_or_else(|said| panic!("{folder}: {said}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_pass_the_restricted_standard() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("restricted").await;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let _ = server.kubectl(&["label", "namespace", &namespace, label]);
    let manifests = Chart::new().set("tls.certManager.enabled=true").manifests(&namespace).expect("manifests");
    let (known, _): (Vec<Value>, Vec<Value>) =
        objects(&manifests).into_iter().partition(|object| object["apiVersion"] != "cert-manager.io/v1");
    apply(server, &namespace, &list(&known)).expect("the release");
    let create = |pod: &Value| {
        server.kubectl_with(&["create", "--dry-run=server", "-n", &namespace, "-f", "-"], &pod.to_string())
    };
    let deployments: Vec<&Value> = known.iter().filter(|object| object["kind"] == "Deployment").collect();
    assert_eq!(deployments.len(), 3);
    for deployment in deployments {
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("trial");
        create(&pod).unwrap_or_else(|said| panic!("{}: {said}", deployment["metadata"]["name"]));
        // The server does look: a pod that asks for more is refused.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let said = create(&pod).expect_err("a pod that may gain privileges");
        assert!(said.contains("violates PodSecurity"), "{said}");
    }
}
