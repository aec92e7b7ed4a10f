//! An installation in a namespace of its own, and replicas of the controller in it.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jumpstarter_kube_testkit::ApiServer;
use jumpstarter_transport::{ChannelOptions, ChannelTls, connect};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// The lock, as Go replicas know it.
pub(crate) const LOCK: &str = "a38b78e7.jumpstarter.dev";
/// Longest that anything may take that has no limit of its own, on a slow machine that does other things too.
pub(crate) const LONG: Duration = Duration::from_mins(1);
/// Flags with which a replica takes part in the election.
pub(crate) const ELECT: [&str; 2] = ["--leader-elect", "-metrics-bind-address=127.0.0.1:0"];

pub(crate) struct Installation<'a> {
    pub(crate) api: &'a ApiServer,
    pub(crate) namespace: String,
    directory: tempfile::TempDir,
}

impl<'a> Installation<'a> {
    /// A namespace with the ConfigMap that today's operator writes.
    pub(crate) async fn new(api: &'a ApiServer) -> Self {
        let lab = Self::empty(api).await;
        lab.configure("grpc:\n  keepalive: {minTime: 1s, permitWithoutStream: true}\nprovisioning: {enabled: false}\n");
        lab
    }

    /// A namespace with nothing in it.
    pub(crate) async fn empty(api: &'a ApiServer) -> Self {
        let namespace = api.namespace("cluster").await;
        Self { api, namespace, directory: tempfile::tempdir().unwrap() }
    }

    /// Writes the ConfigMap.
    pub(crate) fn configure(&self, config: &str) {
        let map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "jumpstarter-controller" },
            "data": { "config": config, "router": "default: {endpoint: \"127.0.0.1:8083\"}\n" },
        });
        self.api.kubectl_with(&["apply", "-n", &self.namespace, "-f", "-"], &map.to_string()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn locks(&self) -> Api<Lease> {
        Api::namespaced(self.api.admin(), &self.namespace)
    }

    /// The command of a replica, with the environment of today's deployments.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("KUBECONFIG", self.api.admin_kubeconfig())
            .env("NAMESPACE", &self.namespace)
            .env("ROUTER_KEY", "the-router-key-of-the-tests")
            .env("CONTROLLER_KEY", "not used")
            .env("GRPC_ENDPOINT", "localhost:8082")
            .env("LOGIN_SERVICE_PORT", "127.0.0.1:0")
            .env("GIN_MODE", "release");
        command
    }

    /// A replica on ports of its own.
    pub(crate) fn replica(&self, flags: &[&str]) -> Process {
        let mut command = self.command(&binary());
        command
            .args(["controller", "--grpc-bind-address=127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0"])
            .args(flags);
        Process::start(command)
    }
}

/// What is under test.
pub(crate) fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_jumpstarter").into()
}

/// A process whose log is read as it writes. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: Log,
    readers: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<String>>, Notify)>);

impl Log {
    async fn read(self, from: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            self.0.0.lock().unwrap().push(line);
            self.0.1.notify_waiters();
        }
        self.0.1.notify_waiters();
    }
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let log = Log::default();
        let mut readers = JoinSet::new();
        readers.spawn(log.clone().read(child.stdout.take().unwrap()));
        readers.spawn(log.clone().read(child.stderr.take().unwrap()));
        Self { child, log, readers }
    }

    /// Everything it has said.
    pub(crate) fn said(&self) -> String {
        self.log.0.0.lock().unwrap().join("\n")
    }

    /// Waits until `count` lines hold `text`, and returns the last of these.
    pub(crate) async fn says_times(&self, text: &str, count: usize) -> String {
        let waiting = async {
            loop {
                let news = self.log.0.1.notified();
                let found =
                    self.log.0.0.lock().unwrap().iter().filter(|line| line.contains(text)).nth(count - 1).cloned();
                if let Some(line) = found {
                    return line;
                }
                news.await;
            }
        };
        timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("`{text}` was not said:\n{}", self.said()))
    }

    pub(crate) async fn says(&self, text: &str) -> String {
        self.says_times(text, 1).await
    }

    /// Waits until it leads.
    pub(crate) async fn leads(&self) {
        self.says("\"msg\":\"leading\"").await;
    }

    /// The value of a field in the first line with `text`.
    pub(crate) async fn field(&self, text: &str, field: &str) -> String {
        let line = self.says(text).await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        line[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {line}")).to_owned()
    }

    /// Where its gRPC port is; waits until connections are served there, by itself or by the leader.
    pub(crate) async fn port(&self) -> String {
        self.field("\"msg\":\"jumpstarter is ready\"", "listen").await
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for its end, and for its last words.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let ended = async {
            let status = self.child.wait().await.unwrap();
            while self.readers.join_next().await.is_some() {}
            status
        };
        let ended = timeout(LONG, ended).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.said()))
    }
}

/// One call over a new connection, which only a leader answers.
pub(crate) async fn call(address: &str) -> Result<(), String> {
    let tls = ChannelTls { insecure: true, server_name: Some("localhost".to_owned()), ..ChannelTls::default() };
    let options = ChannelOptions { connect_timeout: LONG, ..ChannelOptions::default() };
    let channel = connect::connect(address, &tls, &options).await.map_err(|error| format!("connect: {error:?}"))?;
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest::default()).await.map(|_| ()).map_err(|status| format!("call: {status:?}"))
}

/// Calls until a call is answered; returns how long that took.
pub(crate) async fn is_served(address: &str) -> Duration {
    let since = Instant::now();
    loop {
        let outcome = timeout(LONG, call(address)).await;
        let Err(error) = outcome.unwrap_or_else(|late| panic!("{address} holds a call: {late}")) else {
            return since.elapsed();
        };
        assert!(since.elapsed() < LONG, "{address} serves nobody: {error}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// `GET path` over plain HTTP: status line and body.
pub(crate) async fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}
