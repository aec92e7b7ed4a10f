//! `jumpstarter keys` on a cluster, before the first start of a controller and while one runs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jumpstarter_kube_testkit::ApiServer;
use tokio::time::{Instant, sleep};

use crate::kit::{ELECT, Installation, LONG, binary};

/// The base point of P-256: its private half is 1, which everybody knows.
const FOREIGN: &str = r#"{"keys":[{"use":"sig","kty":"EC","kid":"default","crv":"P-256","alg":"ES256",
    "x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}"#;
const FOREIGN_ID: &str = "xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M";

/// Runs `jumpstarter keys` and returns whether it was content, and all that it said.
async fn keys(lab: &Installation<'_>, arguments: &[&str]) -> (bool, String) {
    let mut command = lab.command(&binary());
    command.args(["keys", "--namespace", &lab.namespace]).arg("--kubeconfig").arg(lab.api.admin_kubeconfig());
    let output = command.args(arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// The `kid` of the token in a client's Secret, once it is another than `before`.
async fn signer(lab: &Installation<'_>, before: &str) -> String {
    let since = Instant::now();
    loop {
        let path = "jsonpath={.data.token}";
        let found = lab.api.kubectl_with(&["get", "secret", "alice-client", "-n", &lab.namespace, "-o", path], "");
        let token = found.ok().and_then(|text| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok());
        let header = token.and_then(|token| {
            let header = token.split('.').next()?.to_owned();
            let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).ok()?;
            serde_json::from_slice::<serde_json::Value>(&header).ok()
        });
        let kid = header.and_then(|header| Some(header["kid"].as_str()?.to_owned()));
        match kid {
            Some(kid) if kid != before => return kid,
            _ => assert!(since.elapsed() < LONG, "no token of another key than `{before}`: {kid:?}"),
        }
        sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_trusted_before_the_first_start_and_rotated_while_it_runs() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let (content, said) = keys(&lab, &["show"]).await;
    assert!(!content && said.contains("jumpstarter-controller-keys does not exist"), "{said}");

    let file = lab.path().join("go.jwks");
    std::fs::write(&file, FOREIGN).unwrap();
    let file = file.to_str().unwrap();
    let (content, said) = keys(&lab, &["trust", file, "--until", "2001-01-31"]).await;
    assert!(!content && said.contains("has passed"), "{said}");
    let (content, said) = keys(&lab, &["trust", file, "--until", "2199-01-31"]).await;
    assert!(content && said.contains("Warning") && said.contains("go-service"), "{said}");

    let replica = lab.replica(&ELECT);
    replica.leads().await;
    replica.says("tokens of another service's key are accepted").await;
    let client = r#"{"apiVersion":"jumpstarter.dev/v1alpha1","kind":"Client","metadata":{"name":"alice"},"spec":{}}"#;
    lab.api.kubectl_with(&["apply", "-n", &lab.namespace, "-f", "-"], client).unwrap();
    let first = signer(&lab, "").await;
    let (content, said) = keys(&lab, &["show"]).await;
    assert!(content && said.contains(&first) && said.contains(FOREIGN_ID), "{said}");

    let (content, said) = keys(&lab, &["rotate", "--overlap", "1h"]).await;
    assert!(content && said.contains(&first), "{said}");
    let second = signer(&lab, &first).await;
    let (_, said) = keys(&lab, &["show", "--jwks"]).await;
    assert!(said.contains(&first) && said.contains(&second) && !said.contains(FOREIGN_ID), "{said}");
    let (content, said) = keys(&lab, &["untrust", "go-service"]).await;
    assert!(content, "{said}");
    assert!(!replica.said().contains("PRIVATE"));
}
