//! The configuration files that the commands write, keep and delete.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::Bench;

fn yaml(path: &std::path::Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_client_file_for_others_to_read() {
    let bench = Bench::new();
    let text = bench.admin("create client alice --unsafe --out c.yaml").ok();
    let path = bench.path("c.yaml");
    let saved = format!("Client configuration successfully saved to {}\n", path.display());
    assert!(text.contains(&format!("Fetching client credentials from cluster\n{saved}")), "{text}");
    let config = yaml(&path);
    assert_eq!(
        config,
        json!({
            "apiVersion": "jumpstarter.dev/v1alpha1",
            "kind": "ClientConfig",
            "metadata": { "namespace": "default", "name": "alice" },
            "endpoint": "lab.example.com:8082",
            "tls": { "ca": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==", "insecure": false },
            "token": "token-1",
            "grpcOptions": {},
            "drivers": { "allow": [], "unsafe": true },
            "shell": { "use_profiles": false },
        })
    );
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A file elsewhere does not change what is current.
    assert!(!bench.config("config.yaml").exists());
}

#[test]
fn an_exporter_file_for_others_to_read() {
    let bench = Bench::new();
    let text = bench.admin("create exporter rig -l board=x --out e.yaml -k --nointeractive").ok();
    assert!(text.contains("Exporter configuration successfully saved to "), "{text}");
    let config = yaml(&bench.path("e.yaml"));
    assert_eq!(config["metadata"], json!({ "namespace": "default", "name": "rig" }));
    assert_eq!((&config["token"], &config["export"]), (&json!("token-1"), &json!({})));
    assert_eq!(config["tls"]["insecure"], true);
}

#[test]
fn the_only_client_becomes_the_current_one_and_stops_being_it() {
    let bench = Bench::new();
    bench.admin("create client a --save --nointeractive --allow one,two").ok();
    assert_eq!(yaml(&bench.config("clients/a.yaml"))["drivers"], json!({ "allow": ["one", "two"], "unsafe": false }));
    bench.admin("create client b --save --nointeractive").ok();
    assert_eq!(yaml(&bench.config("config.yaml"))["config"]["current-client"], "a");
    let text = bench.admin("delete client a --delete").ok();
    assert_eq!(text, "Deleted client 'a' in namespace 'default'\nClient configuration successfully deleted\n");
    assert!(!bench.config("clients/a.yaml").exists());
    assert_eq!(yaml(&bench.config("config.yaml"))["config"]["current-client"], Value::Null);
    // Without a word about it, the file stays.
    assert_eq!(bench.admin("delete client b --nointeractive -o name").ok(), "client.jumpstarter.dev/b\n");
    assert!(bench.config("clients/b.yaml").exists());
}

#[test]
fn questions_are_answered_from_a_pipe() {
    let bench = Bench::new();
    let done = bench.admin_with("create client a", "y\nn\nx.*, y.*\n");
    assert!(done.stderr.contains("Save client configuration? [y/N]: "), "{done:?}");
    assert!(done.stderr.contains("Allow unsafe driver client imports? [y/N]: "), "{done:?}");
    done.ok();
    assert_eq!(yaml(&bench.config("clients/a.yaml"))["drivers"], json!({ "allow": ["x.*", "y.*"], "unsafe": false }));
    // Nobody there: nothing is saved, and nothing fails.
    bench.admin_with("create client b", "").ok();
    assert!(!bench.config("clients/b.yaml").exists());
    // Nobody there to confirm what is unsafe: nothing is done at all.
    assert_eq!(bench.admin_with("create client c -k", "").failed(1).lines().last(), Some("Aborted!"));
    assert!(bench.api.get("clients", "c").is_none());
}

#[test]
fn configurations_are_imported() {
    let bench = Bench::new();
    bench.admin("create client a --nointeractive").ok();
    bench.admin("create exporter e -l x=y --nointeractive").ok();
    let path = bench.config("clients/a.yaml");
    assert_eq!(
        bench.admin("import client a --unsafe").ok(),
        format!(
            "Fetching client credentials from cluster\nClient configuration successfully saved to {}\n",
            path.display()
        )
    );
    assert_eq!(bench.admin("i client a --unsafe").failed(1), "Error: A client with the name 'a' already exists\n");
    let out = bench.path("again.yaml");
    assert_eq!(
        bench.admin("import client a --nointeractive --out again.yaml -o path").ok(),
        format!("{}\n", out.display())
    );
    let path = bench.config("exporters/e.yaml");
    assert_eq!(bench.admin("import exporter e -o path").ok(), format!("{}\n", path.display()));
    assert_eq!(bench.admin("import exporter e").failed(1), "Error: An exporter with the name \"e\" already exists\n");
}

#[test]
fn a_rotated_token_replaces_the_old_one_only() {
    let bench = Bench::new();
    bench.admin("create client a --save --nointeractive --allow one").ok();
    assert_eq!(
        bench.admin("rotate client a --save").ok(),
        "Rotating token for client 'a' in namespace 'default'\nToken rotated for client 'a'\n\
         Client configuration updated with new token\n"
    );
    let config = yaml(&bench.config("clients/a.yaml"));
    assert_eq!((&config["token"], &config["drivers"]["allow"]), (&json!("token-2"), &json!(["one"])));
    bench.admin("rotate client a --out new.yaml -o name").ok();
    assert_eq!(yaml(&bench.path("new.yaml"))["token"], "token-2");

    // A file given with `--out` keeps what it says, unless it is somebody else's.
    bench.admin("create client b --unsafe --out b.yaml").ok();
    bench.admin("rotate client b --out b.yaml").ok();
    let config = yaml(&bench.path("b.yaml"));
    assert_eq!((&config["token"], &config["drivers"]["unsafe"]), (&json!("token-2"), &json!(true)));
    let error = bench.admin("rotate client a --out b.yaml").failed(1);
    assert!(error.contains("belongs to another client; nothing was rotated"), "{error}");
}
