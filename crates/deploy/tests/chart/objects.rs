//! What the chart makes of its values.

use std::collections::BTreeMap;

use jumpstarter_cluster_config::ClusterConfig;
use jumpstarter_deploy::{Chart, find, titles};
use serde_json::{Value, json};

/// The objects of one kind.
fn kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn pod(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]
}

/// Plain values of the environment of a container.
fn environment(deployment: &Value) -> BTreeMap<String, String> {
    let list = pod(deployment)["containers"][0]["env"].as_array().expect("an environment");
    list.iter()
        .filter_map(|variable| Some((variable["name"].as_str()?.to_owned(), variable["value"].as_str()?.to_owned())))
        .collect()
}

/// The configuration as the controller reads it.
#[track_caller]
fn config(objects: &[Value]) -> ClusterConfig {
    let map =
        serde_json::from_value(find(objects, "ConfigMap", "jumpstarter-controller").clone()).expect("a ConfigMap");
    let config = ClusterConfig::from_config_map(&map).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    config
}

#[test]
fn names_are_those_that_labs_have() {
    assert_eq!(
        titles(&Chart::new().objects()),
        [
            "ConfigMap/jumpstarter-controller",
            "ConfigMap/jumpstarter-service-ca-cert",
            "Deployment/jumpstarter-controller",
            "Deployment/jumpstarter-router-0",
            "Deployment/jumpstarter-router-1",
            "PodDisruptionBudget/jumpstarter-controller",
            "PodDisruptionBudget/jumpstarter-routers",
            "Role/jumpstarter-controller-role",
            "RoleBinding/jumpstarter-controller-rolebinding",
            "Secret/jumpstarter-router-secret",
            "Service/controller-grpc",
            "Service/jumpstarter-controller-metrics",
            "Service/jumpstarter-router-0",
            "Service/jumpstarter-router-1",
            "Service/jumpstarter-router-metrics",
            "Service/login",
            "ServiceAccount/jumpstarter-controller-manager",
            "ServiceAccount/jumpstarter-router",
        ]
    );
}

#[test]
fn existing_deployments_can_be_taken_over() {
    let objects = Chart::new().objects();
    let selector = |name: &str| find(&objects, "Deployment", name)["spec"]["selector"]["matchLabels"].clone();
    let controller = json!({ "component": "controller", "app": "jumpstarter-controller", "controller": "jumpstarter" });
    assert_eq!(selector("jumpstarter-controller"), controller);
    assert_eq!(
        selector("jumpstarter-router-1"),
        json!({ "component": "router", "app": "jumpstarter-router-1", "router": "jumpstarter", "router-index": "1" })
    );
    for deployment in kind(&objects, "Deployment") {
        let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().expect("labels");
        for (key, value) in deployment["spec"]["selector"]["matchLabels"].as_object().expect("a selector") {
            assert_eq!(labels.get(key), Some(value));
        }
    }
}

#[test]
fn every_router_has_an_endpoint_of_its_own() {
    for (chart, endpoints) in [
        (
            Chart::new().set("routers.count=3"),
            [0, 1, 2].map(|n| format!("jumpstarter-router-{n}.lab.svc.cluster.local:8083")),
        ),
        (
            Chart::new().set("routers.count=3").set("baseDomain=lab.example.com").set("expose.type=NodePort"),
            [0, 1, 2].map(|n| format!("router-{n}.lab.example.com:{}", 30_020 + n)),
        ),
        (
            Chart::new().set("routers.count=3").set("baseDomain=lab.example.com").set("expose.type=Ingress"),
            [0, 1, 2].map(|n| format!("router-{n}.lab.example.com:443")),
        ),
        (
            Chart::new().set("routers.count=3").set("routers.endpoint=192.0.2.7:1808$(replica)"),
            [0, 1, 2].map(|n| format!("192.0.2.7:1808{n}")),
        ),
    ] {
        let objects = chart.objects();
        let mut listed: Vec<String> = config(&objects).routers.values().map(|router| router.endpoint.clone()).collect();
        listed.sort();
        assert_eq!(listed, endpoints);
        for (index, endpoint) in endpoints.iter().enumerate() {
            let deployment = find(&objects, "Deployment", &format!("jumpstarter-router-{index}"));
            assert_eq!(&environment(deployment)["GRPC_ROUTER_ENDPOINT"], endpoint);
            assert_eq!(deployment["spec"]["replicas"], 1);
            let service = find(&objects, "Service", &format!("jumpstarter-router-{index}"));
            assert_eq!(service["spec"]["selector"], json!({ "app": format!("jumpstarter-router-{index}") }));
        }
    }
}

#[test]
fn routers_elsewhere_and_labels_are_listed() {
    let objects = Chart::new()
        .set("routers.labels.1.site=berlin")
        .set("routers.external.far.endpoint=far.example.com:8083")
        .set("routers.external.far.labels.site=far")
        .set("routers.external.hidden.endpoint=hidden.example.com:8083")
        .set("routers.external.hidden.probe=false")
        .objects();
    let text = find(&objects, "ConfigMap", "jumpstarter-controller")["data"]["router"].as_str().expect("a document");
    let routers: Value = serde_saphyr::from_str(text).expect("YAML");
    assert_eq!(routers["default"], json!({ "endpoint": "jumpstarter-router-0.lab.svc.cluster.local:8083" }));
    assert_eq!(routers["router-1"]["labels"], json!({ "site": "berlin" }));
    assert_eq!(routers["far"], json!({ "endpoint": "far.example.com:8083", "labels": { "site": "far" } }));
    let routers = config(&objects).routers;
    assert_eq!((routers["far"].probe, routers["hidden"].probe), (true, false));
}

#[test]
fn the_controller_reaches_every_router_that_it_asks() {
    let objects = Chart::new()
        .set("networkPolicy.enabled=true")
        .set("baseDomain=lab.example.com")
        .set("expose.type=Ingress")
        .set("routers.external.far.endpoint=far.example.com:9000")
        .set("routers.external.hidden.endpoint=hidden.example.com:9001")
        .set("routers.external.hidden.probe=false")
        .objects();
    let policy = &find(&objects, "NetworkPolicy", "jumpstarter-controller")["spec"];
    let rule = &policy["egress"].as_array().expect("rules")[2];
    assert_eq!(*rule, json!({ "ports": [{ "port": 8083 }, { "port": 443 }, { "port": 9000 }] }));
}

#[test]
fn routers_are_told_the_keepalive_of_the_lab() {
    let arguments = |chart: Chart| -> Vec<String> {
        let objects = chart.objects();
        let arguments = &pod(find(&objects, "Deployment", "jumpstarter-router-0"))["containers"][0]["args"];
        arguments.as_array().expect("arguments").iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    assert_eq!(arguments(Chart::new()).len(), 3);
    let told = arguments(
        Chart::new()
            .set("config.grpc.keepalive.intervalTime=15s")
            .set("config.grpc.keepalive.maxConnectionAge=24h")
            .set("routers.extraArgs[0]=--log=debug"),
    );
    assert_eq!(told[3..], ["--keepalive-interval=15s", "--max-connection-age=24h", "--log=debug"]);
}

#[test]
fn routers_have_no_way_to_the_api_server() {
    let objects = Chart::new().set("networkPolicy.enabled=true").objects();
    for deployment in
        kind(&objects, "Deployment").into_iter().filter(|object| object["metadata"]["name"] != "jumpstarter-controller")
    {
        assert_eq!(pod(deployment)["automountServiceAccountToken"], false);
        assert_eq!(pod(deployment)["serviceAccountName"], "jumpstarter-router");
    }
    let bound: Vec<&Value> = kind(&objects, "RoleBinding")
        .into_iter()
        .filter_map(|binding| binding["subjects"].as_array())
        .flatten()
        .collect();
    assert_eq!(bound.len(), 1);
    assert_eq!(bound[0]["name"], "jumpstarter-controller-manager");
    let policy = &find(&objects, "NetworkPolicy", "jumpstarter-routers")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["egress"], Value::Null);
}

#[test]
fn pods_may_end_what_they_began() {
    let objects = Chart::new().set("routers.drainSeconds=42").objects();
    let router = pod(find(&objects, "Deployment", "jumpstarter-router-0"));
    assert_eq!(router["terminationGracePeriodSeconds"], 72);
    assert!(router["containers"][0]["args"].as_array().expect("arguments").contains(&json!("--drain=42")));
}

#[test]
fn the_image_starts_by_its_entry_point() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (chart, image) in [
        (Chart::new(), "jumpstarter:0.1.0".to_owned()),
        (Chart::new().set("image.repository=example.com/j").set("image.tag=v7"), "example.com/j:v7".to_owned()),
        (Chart::new().set(&format!("image.digest={digest}")), format!("jumpstarter@{digest}")),
    ] {
        for deployment in kind(&chart.objects(), "Deployment") {
            assert_eq!(pod(deployment)["containers"][0]["image"], json!(image));
        }
    }
    let objects = Chart::new().objects();
    let container = |name: &str| pod(find(&objects, "Deployment", name))["containers"][0].clone();
    assert_eq!(container("jumpstarter-controller")["command"], Value::Null);
    assert_eq!(container("jumpstarter-router-0")["command"], json!(["/router"]));
}

#[test]
fn certificates_are_mounted_where_there_are_any() {
    let certificate = |chart: Chart, name: &str| {
        let objects = chart.objects();
        let deployment = find(&objects, "Deployment", name);
        (
            pod(deployment)["volumes"][0]["secret"]["secretName"].clone(),
            environment(deployment).get("EXTERNAL_CERT_PEM").cloned(),
        )
    };
    let path = Some("/tls/tls.crt".to_owned());
    assert_eq!(certificate(Chart::new(), "jumpstarter-controller"), (Value::Null, None));
    assert_eq!(certificate(Chart::new(), "jumpstarter-router-1"), (Value::Null, None));
    let own = || Chart::new().set("tls.controllerSecret=mine").set("tls.routerSecret=mine-$(replica)");
    assert_eq!(certificate(own(), "jumpstarter-controller"), (json!("mine"), path.clone()));
    assert_eq!(certificate(own(), "jumpstarter-router-1"), (json!("mine-1"), path.clone()));
    let manager = || Chart::new().set("tls.certManager.enabled=true");
    assert_eq!(certificate(manager(), "jumpstarter-router-1"), (json!("jumpstarter-router-1-tls"), path));
    let objects = manager().set("baseDomain=lab.example.com").objects();
    let spec = &find(&objects, "Certificate", "jumpstarter-controller-tls")["spec"];
    let names = spec["dnsNames"].as_array().expect("names");
    assert!(
        names.contains(&json!("grpc.lab.example.com")) && names.contains(&json!("controller-grpc.lab.svc")),
        "{names:?}"
    );
    assert_eq!(spec["issuerRef"]["name"], "jumpstarter-ca-issuer");

    let objects =
        manager().set("tls.certManager.issuerRef.name=acme").set("controller.endpoint=192.0.2.1:8082").objects();
    assert_eq!(titles(&objects).iter().filter(|title| title.starts_with("Issuer/")).count(), 0);
    let spec = &find(&objects, "Certificate", "jumpstarter-controller-tls")["spec"];
    assert_eq!((&spec["ipAddresses"], &spec["dnsNames"]), (&json!(["192.0.2.1"]), &Value::Null));
    assert_eq!(spec["issuerRef"]["name"], "acme");
}

#[test]
fn each_way_in_leads_to_every_service() {
    let chart = |way: &str| {
        Chart::new()
            .set("baseDomain=lab.example.com")
            .set("expose.gateway.parentRefs[0].name=gw")
            .set("expose.ingress.annotations.mine=too")
            .set(&format!("expose.type={way}"))
            .objects()
    };
    let hosts = |objects: &[Value], of: &str, host: &dyn Fn(&Value) -> Value| {
        let mut hosts: Vec<String> =
            kind(objects, of).iter().map(|object| host(object).as_str().expect("a host").to_owned()).collect();
        hosts.sort();
        hosts
    };
    let backends = ["grpc.lab.example.com", "router-0.lab.example.com", "router-1.lab.example.com"];
    let all = ["grpc.lab.example.com", "login.lab.example.com", "router-0.lab.example.com", "router-1.lab.example.com"];

    let objects = chart("Ingress");
    assert_eq!(hosts(&objects, "Ingress", &|object| object["spec"]["rules"][0]["host"].clone()), all);
    let annotations = &find(&objects, "Ingress", "jumpstarter-router-0-ing")["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/ssl-passthrough"], "true");
    assert_eq!(annotations["mine"], "too");
    assert_eq!(find(&objects, "Ingress", "login-ing")["metadata"]["annotations"], Value::Null);

    let objects = chart("Gateway");
    assert_eq!(hosts(&objects, "TLSRoute", &|object| object["spec"]["hostnames"][0].clone()), backends);
    assert_eq!(
        hosts(&objects, "HTTPRoute", &|object| object["spec"]["hostnames"][0].clone()),
        ["login.lab.example.com"]
    );

    let objects = chart("Route");
    assert_eq!(hosts(&objects, "Route", &|object| object["spec"]["host"].clone()), all);
    assert_eq!(find(&objects, "Route", "controller-grpc-route")["spec"]["tls"]["termination"], "passthrough");

    for way in ["NodePort", "LoadBalancer"] {
        let objects = chart(way);
        for name in ["controller-grpc", "jumpstarter-router-0", "jumpstarter-router-1", "login"] {
            assert_eq!(find(&objects, "Service", name)["spec"]["type"], way, "{name}");
        }
        assert_eq!(find(&objects, "Service", "jumpstarter-router-metrics")["spec"]["clusterIP"], "None");
    }
}

#[test]
fn metrics_are_found() {
    let objects =
        Chart::new().set("serviceMonitor.enabled=true").set("serviceMonitor.labels.release=prometheus").objects();
    let monitor = find(&objects, "ServiceMonitor", "jumpstarter");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    let found = kind(&objects, "Service")
        .into_iter()
        .filter(|service| wanted.iter().all(|(key, value)| &service["metadata"]["labels"][key] == value));
    let names: Vec<&Value> = found.map(|service| &service["metadata"]["name"]).collect();
    assert_eq!(names, ["jumpstarter-controller-metrics", "jumpstarter-router-metrics"]);
}
