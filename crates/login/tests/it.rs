//! The login service as browsers, programs and the released `jmp` see it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use jumpstarter_login::{LoginInfo, Oidc, routes};
use jumpstarter_peers::NEWEST;
use tower::ServiceExt as _;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn info() -> LoginInfo {
    LoginInfo {
        grpc_endpoint: "grpc.lab.example.com:443".into(),
        router_endpoint: Some("router.lab.example.com:443".into()),
        namespace: "lab".into(),
        login_endpoint: Some("login.lab.example.com".into()),
        ca_bundle: Some(PEM.into()),
        oidc: vec![Oidc { issuer: "https://dex.example.com".into(), audiences: vec!["jumpstarter-cli".into()] }],
    }
}

/// Status, content type and text of an answer.
async fn get(info: &LoginInfo, path: &str) -> (u16, String, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = routes(info).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn programs_get_json() {
    let (status, kind, text) = get(&info(), "/v1/auth/config").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    insta::assert_snapshot!(text, @r#"{"grpcEndpoint":"grpc.lab.example.com:443","routerEndpoint":"router.lab.example.com:443","namespace":"lab","caBundle":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=","oidc":[{"issuer":"https://dex.example.com","clientId":"jumpstarter-cli","audiences":["jumpstarter-cli"]}]}"#);
    // What is not known is left out rather than empty.
    let bare = LoginInfo {
        grpc_endpoint: "localhost:8082".into(),
        namespace: "lab".into(),
        router_endpoint: Some(String::new()),
        ca_bundle: Some(String::new()),
        ..LoginInfo::default()
    };
    let (_, _, text) = get(&bare, "/v1/auth/config").await;
    assert_eq!(text, r#"{"grpcEndpoint":"localhost:8082","namespace":"lab"}"#);
}

#[tokio::test]
async fn people_get_a_page() {
    for info in [info(), LoginInfo { oidc: Vec::new(), login_endpoint: None, ..info() }] {
        let (status, kind, text) = get(&info, "/").await;
        assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
        for part in ["Jumpstarter", "jmp login", &info.grpc_endpoint, "router.lab.example.com:443", "<code>lab</code>"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.contains("https://dex.example.com"), !info.oidc.is_empty());
    }
    assert!(get(&info(), "/").await.2.contains("jmp login NAME@login.lab.example.com"));
}

#[tokio::test]
async fn values_cannot_become_markup() {
    let evil = "\"><script>alert('x')</script>&amp;".to_owned();
    let info = LoginInfo {
        grpc_endpoint: evil.clone(),
        router_endpoint: Some(evil.clone()),
        namespace: evil.clone(),
        login_endpoint: Some(evil.clone()),
        ca_bundle: Some(evil.clone()),
        oidc: vec![Oidc { issuer: evil.clone(), audiences: vec![evil.clone()] }],
    };
    let (_, _, text) = get(&info, "/").await;
    assert!(!text.contains("<script") && !text.contains(&evil), "{text}");
    assert_eq!(text.matches("&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)").count(), 5, "{text}");
}

#[tokio::test]
async fn there_is_nothing_else() {
    assert_eq!(get(&info(), "/healthz").await.2, "ok");
    for path in
        ["/v1", "/v1/auth", "/index.html", "//", "/v1/auth/config/", "/healthz/x", "/metrics", "/%2e%2e/etc/passwd"]
    {
        assert_eq!(get(&info(), path).await.0, 404, "{path}");
    }
    let post = Request::post("/v1/auth/config").body(Body::empty()).unwrap();
    assert_eq!(routes(&info()).oneshot(post).await.unwrap().status().as_u16(), 405);
}

/// The released command line's own discovery; prints what it found.
const DISCOVER: &str = r"
import asyncio, json, sys
from jumpstarter_cli import login

async def main(url):
    print(json.dumps(await login.fetch_auth_config(url, insecure_tls=True)))

asyncio.run(main(sys.argv[1]))
";

#[tokio::test]
async fn the_released_command_line_discovers_the_lab() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async { axum::serve(listener, routes(&info())).await.unwrap() };
    let venv = NEWEST.find().unwrap_or_else(|missing| panic!("{missing}"));
    let mut python = tokio::process::Command::new(venv.program("python"));
    python.args(["-c", DISCOVER, &url]).kill_on_drop(true);
    let output = tokio::select! {
        () = serve => unreachable!("the server stops only with the test"),
        output = tokio::time::timeout(Duration::from_mins(1), python.output()) => output.expect("in time").unwrap(),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let found: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(found["grpcEndpoint"], "grpc.lab.example.com:443");
    assert_eq!(found["oidc"][0]["clientId"], "jumpstarter-cli");
}
