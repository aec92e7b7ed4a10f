//! Drivers that tell a client how to use another one.
use jumpstarter_drivers::DriverError;
use serde_json::{Value, json};

use super::{build, only, refused};

const SSH: &str = "jumpstarter_driver_ssh.driver.SSHWrapper";
const TCP: &str = "tcp: {type: jumpstarter_driver_network.driver.TcpNetwork, config: {host: 127.0.0.1, port: 22}}";

#[tokio::test]
async fn ssh_tells_user_command_and_key() {
    let ssh = only(&format!("{{type: {SSH}, children: {{{TCP}}}}}")).await;
    assert_eq!(ssh.call("get_default_username", vec![]).await.unwrap(), json!(""));
    assert!(ssh.call("get_ssh_command", vec![]).await.unwrap().as_str().unwrap().starts_with("ssh -o"));
    assert_eq!(ssh.call("get_ssh_identity", vec![]).await.unwrap(), Value::Null);

    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let config = format!("{{default_username: root, ssh_identity_file: {}}}", key.display());
    let ssh = only(&format!("{{type: {SSH}, config: {config}, children: {{{TCP}}}}}")).await;
    let err = ssh.call("get_ssh_identity", vec![]).await.unwrap_err();
    assert!(matches!(&err, DriverError::Io { .. }) && err.to_string().contains(key.to_str().unwrap()), "{err}");
    std::fs::write(&key, "a key\n").unwrap();
    assert_eq!(ssh.call("get_ssh_identity", vec![]).await.unwrap(), json!("a key\n"));
    assert_eq!(ssh.call("get_default_username", vec![]).await.unwrap(), json!("root"));
}

#[tokio::test]
async fn the_child_tcp_may_be_given_by_reference_but_not_left_out() {
    build(&format!("{{{TCP}, d: {{type: {SSH}, children: {{tcp: {{ref: tcp}}}}}}}}")).await;
    let text = refused(&format!("{{d: {{type: {SSH}}}}}")).await;
    assert!(text.contains("'d'") && text.contains("child 'tcp' is missing"), "{text}");
    let config = "{ssh_identity: a, ssh_identity_file: b}";
    let text = refused(&format!("{{d: {{type: {SSH}, config: {config}, children: {{{TCP}}}}}}}")).await;
    assert!(text.contains("cannot be combined"), "{text}");
}

#[tokio::test]
async fn vnc_tells_whether_to_encrypt() {
    let class = "jumpstarter_driver_vnc.driver.Vnc";
    let vnc = only(&format!("{{type: {class}, config: {{default_encrypt: true}}, children: {{{TCP}}}}}")).await;
    assert_eq!(vnc.call("get_default_encrypt", vec![]).await.unwrap(), json!(true));
    assert_eq!(vnc.client(), "jumpstarter_driver_vnc.client.VNClient");
    let text =
        refused(&format!("{{d: {{type: {class}, config: {{default_encrypt: maybe}}, children: {{{TCP}}}}}}}")).await;
    assert!(text.contains("'default_encrypt' (a string)"), "{text}");
}
