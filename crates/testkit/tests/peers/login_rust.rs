//! `jmp login` with a token: what the login service tells becomes a configuration, and a bad token replaces none.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use jumpstarter_config::{ClientConfig, Env};
use jumpstarter_testkit::{Lab, jmp::Release};

/// Answers every request with the same JSON, for as long as the test runs; its address.
fn login_service(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            assert!(head.take_while(|line| !line.is_empty()).any(|line| line.contains("/v1/auth/config")));
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{answer}"
            );
        }
    });
    address
}

#[test]
fn a_token_becomes_a_configuration() {
    let lab = Lab::start();
    let made = ClientConfig::from_file(&lab.client_config("alice"), &Env::empty()).unwrap();
    let token = made.token.as_ref().unwrap().expose().to_owned();
    let answer = format!(
        r#"{{"grpcEndpoint": "{}", "namespace": "{}", "caBundle": "{}"}}"#,
        made.endpoint.as_ref().unwrap(),
        lab.namespace(),
        made.tls.ca
    );
    let target = format!("alice@http://{}", login_service(answer));
    // A home without any configuration for this client.
    let nobody = lab.client("nobody").with(Release::Rust);
    let login = ["login", &target, "-k", "--unsafe", "--nointeractive", "--token"];
    let with = |token: &str| nobody.run(&[&login[..], &[token]].concat());

    with(&token).ok().says("Retrieved CA certificate").says("Set 'alice' as the default client.");
    nobody.run(&["config", "client", "list", "-o", "name"]).ok().says("alice");
    nobody.run(&["get", "leases"]).ok().says("No resources found.");

    with("opaque").code(1).says("the configuration was left as it was").never_says("opaque");
    nobody.run(&["get", "leases"]).ok().says("No resources found.");
    nobody.run(&["auth", "status"]).ok().says("Status: Valid");

    // A configuration that cannot be read: where, and what was expected there.
    let alias = nobody.run(&["config", "client", "use", "alice", "-o", "path"]).ok();
    let text = fs::read_to_string(alias.text()).unwrap() + "colour: red\n";
    fs::write(alias.text(), text).unwrap();
    nobody.run(&["get", "leases"]).code(1).says("column 1: colour: unknown key; expected one of apiVersion");
}
