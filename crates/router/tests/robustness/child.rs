//! A router in a process of its own, so that what it takes can be measured and it can be killed: this test program
//! again, with one test that only serves.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jumpstarter_auth::TicketVerifier;
use jumpstarter_router::{Config, Router};
use jumpstarter_transport::listen::{BindOptions, bind_tcp};
use jumpstarter_transport::{OwnCa, ServeLimits, Server, ServingTls};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::lab::{KEY, keys};

const VARIABLE: &str = "JUMPSTARTER_ROUTER_CHILD";

/// What the router shall be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup<'a> {
    /// `HOST:PORT`; any port when empty.
    pub(crate) listen: &'a str,
    /// With TLS, its authority made in this directory.
    pub(crate) tls: Option<&'a Path>,
    /// Of halves and of dead peers.
    pub(crate) wait_limit: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    /// Streams on one connection.
    pub(crate) streams: Option<u32>,
    /// The network namespace to live in.
    pub(crate) namespace: Option<&'a str>,
}

/// A running one; dropped, it is killed.
pub(crate) struct Routing {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// What it has at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) tasks: u64,
    pub(crate) open: u64,
    pub(crate) waiting: u64,
    pub(crate) connections: u64,
    pub(crate) files: usize,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
}

impl Routing {
    #[track_caller]
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let millis = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap());
        let told = json!({
            "listen": if setup.listen.is_empty() { "127.0.0.1:0" } else { setup.listen },
            "tls": setup.tls,
            "wait_limit": millis(setup.wait_limit),
            "keepalive": millis(setup.keepalive),
            "streams": setup.streams,
        });
        let program = std::env::current_exe().unwrap();
        let mut command = match setup.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        let mut child = command
            .args(["--exact", "child::serves", "--ignored", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, told.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut routing = Self { child, stdin, stdout, address: ([127, 0, 0, 1], 0).into() };
        routing.address = routing.answer()["address"].as_str().unwrap().parse().unwrap();
        routing
    }

    /// The next line that is JSON; the test harness writes some of its own.
    fn answer(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the router of the test ended");
            // The harness leaves its own line open.
            if let Some(start) = line.find('{') {
                return serde_json::from_str(&line[start..]).unwrap();
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn usage(&mut self) -> Usage {
        writeln!(self.stdin, "usage").unwrap();
        let answer = self.answer();
        let number = |name: &str| answer[name].as_u64().unwrap();
        let proc = format!("/proc/{}", self.pid());
        let pages: u64 =
            fs::read_to_string(format!("{proc}/statm")).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        Usage {
            tasks: number("tasks"),
            open: number("open"),
            waiting: number("waiting"),
            connections: number("connections"),
            files: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            memory: pages * rustix::param::page_size() as u64,
        }
    }

    /// What it has when it has come to rest: its last tasks may begin after it has said where it listens.
    #[track_caller]
    pub(crate) fn settled_usage(&mut self) -> Usage {
        let mut last = (self.usage(), 0);
        self.await_usage("at rest", |usage| {
            let same = (usage.tasks, usage.files, usage.connections) == (last.0.tasks, last.0.files, 0);
            last = (*usage, if same { last.1 + 1 } else { 0 });
            last.1 == 25
        })
    }

    /// Waits until what it has fulfils `condition`.
    #[track_caller]
    pub(crate) fn await_usage(&mut self, what: &str, mut condition: impl FnMut(&Usage) -> bool) -> Usage {
        let started = std::time::Instant::now();
        loop {
            let usage = self.usage();
            if condition(&usage) {
                return usage;
            }
            assert!(started.elapsed() < Duration::from_mins(1), "never {what}: {usage:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Routing {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
#[ignore = "the router of other tests; by itself it does nothing"]
fn serves() {
    let Ok(told) = std::env::var(VARIABLE) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let time = |name: &str| told[name].as_u64().map(Duration::from_millis);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = Config::default();
        config.wait_limit = time("wait_limit").unwrap_or(config.wait_limit);
        config.half_closed_limit = config.half_closed_limit.min(config.wait_limit);
        let mut limits = ServeLimits::default();
        limits.keepalive_interval = time("keepalive").unwrap_or(limits.keepalive_interval);
        limits.keepalive_timeout = time("keepalive").unwrap_or(limits.keepalive_timeout);
        if let Some(streams) = told["streams"].as_u64() {
            limits.max_concurrent_streams = u32::try_from(streams).unwrap();
            config.max_waiting_per_connection = usize::try_from(streams).unwrap();
        }
        let router = Router::new(config, Arc::new(TicketVerifier::new(&keys(KEY))));
        let listeners = bind_tcp(told["listen"].as_str().unwrap(), &BindOptions::default()).await.unwrap();
        let address = listeners[0].tcp_addr().unwrap();
        let tls = told["tls"].as_str().map(|directory| {
            jumpstarter_transport::install_crypto_provider();
            let ca = OwnCa::load_or_create(Path::new(directory)).unwrap();
            Arc::new(ServingTls::own(ca, &[]).unwrap())
        });
        let server = Server { limits, ..Server::new(listeners, tls) };
        let counters = Arc::clone(&server.counters);
        let routes = router.clone().into_axum_router();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { server.serve(routes, CancellationToken::new()).await.unwrap() });
        tell(&json!({ "address": address.to_string() }));
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        // Ends with the test that started it.
        while let Ok(Some(_)) = lines.next_line().await {
            let stats = router.stats();
            tell(&json!({
                "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
                "open": stats.open,
                "waiting": stats.waiting,
                "connections": counters.totals().open,
            }));
        }
    });
    runtime.shutdown_background();
}

fn tell(value: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").unwrap();
    out.flush().unwrap();
}
