//! Released Python peers through our router.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

mod lab;

use std::process::Stdio;
use std::time::Duration;

use jumpstarter_router::Config;
use lab::{Lab, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/peers.py");

/// Starts the peers of a new stream with something to do.
async fn start(lab: &Lab, case: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let python = jumpstarter_peers::NEWEST.find().unwrap().program("python");
    let mut child = Command::new(python)
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let [client, exporter] = lab.tickets();
    let request = json!({ "case": case, "address": lab.address.to_string(), "client": client, "exporter": exporter });
    child.stdin.as_mut().unwrap().write_all(format!("{request}\n").as_bytes()).await.unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn result(lines: &mut Lines<BufReader<ChildStdout>>, case: &str) -> Value {
    let line = tokio::time::timeout(Duration::from_secs(90), lines.next_line()).await.unwrap().unwrap();
    serde_json::from_str(&line.unwrap_or_else(|| panic!("{case}: the peers failed, see above"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_peers_are_served() {
    let lab = Lab::start(Config::default()).await;
    let impatient = Lab::start(Config { half_closed_limit: Duration::from_millis(300), ..Config::default() }).await;
    let alone = ("exporter_alone", &impatient);
    let together = ["bulk", "small", "half_close", "early_half_close", "compressed", "cancel", "close_channel"];
    for (case, lab) in together.map(|case| (case, &lab)).into_iter().chain([alone]) {
        let (_child, mut lines) = start(lab, case).await;
        let result = result(&mut lines, case).await;
        for whole in result["whole"].as_array().unwrap() {
            assert_eq!(whole, true, "{case}: {result}");
        }
        for code in result["codes"].as_array().unwrap() {
            assert_eq!(code, "OK", "{case}: {result}");
        }
        // Upstream, the other side hangs until it writes; here it learns at once.
        assert!(result["seconds"].as_f64().unwrap_or(0.0) < 5.0, "{case}: {result}");
    }
    lab.quiet().await;
    impatient.quiet().await;
}

#[tokio::test]
async fn a_waiting_python_peer_reads_a_goodbye_when_the_router_stops() {
    let lab = Lab::start(Config::default()).await;
    let (_child, mut lines) = start(&lab, "sent_away").await;
    assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "waiting");
    lab::until(|| lab.router.stats().waiting == 1).await;
    lab.router.drain();
    assert_eq!(result(&mut lines, "sent_away").await["whole"][0], true);
}
