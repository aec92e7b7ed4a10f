//! What may be set, and what is said against the rest.

use jumpstarter_deploy::{Chart, chart, helm};

#[test]
fn helm_finds_nothing_to_complain_about() {
    let said = helm(&["lint", "--strict", &chart()]).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("0 chart(s) failed"), "{said}");
}

#[test]
fn wrong_values_are_named() {
    for (value, said) in [
        ("controler.replicas=2", "additional properties 'controler' not allowed"),
        ("controller.replica=2", "at '/controller': additional properties 'replica' not allowed"),
        ("controller.replicas=two", "at '/controller/replicas': got string, want integer"),
        ("controller.replicas=0", "at '/controller/replicas': minimum: got 0, want 1"),
        ("routers.count=0", "at '/routers/count': minimum: got 0, want 1"),
        ("controller.endpoint=https://grpc.example.com", "at '/controller/endpoint'"),
        ("controller.endpoint=grpc.example.com", "at '/controller/endpoint'"),
        ("expose.type=Funnel", "at '/expose/type': value must be one of 'ClusterIP', 'Ingress', 'Gateway'"),
        ("image.digest=latest", "at '/image/digest'"),
        ("image.repository=", "at '/image/repository'"),
        ("baseDomain=Lab_1", "at '/baseDomain'"),
        ("routers.labels.first.site=berlin", "invalid propertyName 'first'"),
        ("routers.external.far.labels.site=far", "at '/routers/external/far': missing property 'endpoint'"),
        ("config.authentication.internal.tokenLifetime=5d", "at '/config/authentication/internal/tokenLifetime'"),
        ("config.leasePolicy.maxTag=5", "at '/config/leasePolicy': additional properties 'maxTag' not allowed"),
        ("config.grpc.keepalive.minTime=often", "at '/config/grpc/keepalive/minTime'"),
        ("tls.certManager.issuerRef.kind=Authority", "at '/tls/certManager/issuerRef/kind'"),
        ("networkPolicy.apiServerPorts[0]=https", "at '/networkPolicy/apiServerPorts/0'"),
        // What a schema cannot say.
        ("expose.type=NodePort", "set baseDomain"),
        ("expose.type=Ingress", "set baseDomain"),
        (
            "routers.endpoint=router.example.com:8083",
            "routers.endpoint: with more than one router it must contain $(replica)",
        ),
    ] {
        let refusal = Chart::new().set(value).refusal();
        assert!(refusal.contains(said), "{value}: {refusal}");
    }
    let refusal = Chart::new().set("expose.type=Gateway").set("baseDomain=lab.example.com").refusal();
    assert!(refusal.contains("name your Gateway in expose.gateway.parentRefs"), "{refusal}");
}

#[test]
fn good_values_are_taken() {
    for value in [
        "controller.endpoint=[2001:db8::1]:8082",
        "controller.endpoint=192.0.2.1:8082",
        "routers.endpoint=router-$(replica).example.com:443",
        "config.authentication.internal.tokenLifetime=1h30m",
        "controller.podDisruptionBudget.maxUnavailable=50%",
        "global.anything=goes", // Parents of a chart set it.
    ] {
        let _ = Chart::new().set(value).objects();
    }
}
