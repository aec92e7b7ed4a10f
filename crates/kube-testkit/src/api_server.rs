//! One API server with its etcd.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{Api, Client, Config, api::PostParams};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    Programs,
    certs::{self, Authority},
    guardian,
};

/// Longest that a server may take to come up, on a slow machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(2);
/// The token of a member of `system:masters`.
const ADMIN: &str = "admin-of-the-tests";

/// How a server differs from the usual one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// etcd waits for the disk, as it does in production. Benchmarks want that.
    pub durable: bool,
}

/// A running API server with the custom resources installed. Dropping it kills it.
pub struct ApiServer {
    programs: Programs,
    options: Options,
    dir: TempDir,
    authority: Authority,
    port: u16,
    etcd: [u16; 2],
    processes: Mutex<Processes>,
}

#[derive(Default)]
struct Processes {
    etcd: Option<Child>,
    api: Option<Child>,
    manager: Option<Child>,
}

impl ApiServer {
    /// The one that all tests of this program share. Do not stop or pause it.
    pub async fn shared() -> &'static Self {
        tokio::task::spawn_blocking(Self::shared_blocking).await.expect("the API server starts")
    }

    /// The same outside of a runtime.
    #[must_use]
    pub fn shared_blocking() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_blocking(Options::default()))
    }

    /// One of its own for a test that stops or pauses it.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// One of its own, different from the usual.
    pub async fn with(options: Options) -> Self {
        tokio::task::spawn_blocking(move || Self::start_blocking(options)).await.expect("the API server starts")
    }

    /// The same outside of a runtime.
    #[must_use]
    pub fn start_blocking(options: Options) -> Self {
        // Another provider cannot have been installed: there is only one in the workspace.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let programs = Programs::find();
        sweep();
        let prefix = format!("jkube-{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("create a temporary directory");
        let authority = certs::loopback_certificate(dir.path());
        certs::account_keys(dir.path());
        let text = |name: &str, content: &str| fs::write(dir.path().join(name), content).expect("write a file");
        text("tokens.csv", &format!("{ADMIN},admin,admin,system:masters\n"));
        text(
            "audit.yaml",
            &json!({
                "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                // The server's own traffic is nobody's concern.
                "rules": [{ "level": "None", "users": ["system:apiserver"] }, { "level": "Metadata" }],
            })
            .to_string(),
        );
        let server = Self {
            programs,
            options,
            dir,
            authority,
            port: free_port(),
            etcd: [free_port(), free_port()],
            processes: Mutex::default(),
        };
        server.write_kubeconfig(&server.path("admin.kubeconfig"), &server.url(), Some(ADMIN));
        server.start_etcd();
        server.start_api();
        server.install_crds();
        // It learns of custom resources when it starts, and later only every half minute.
        server.start_manager();
        server
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The authority that signed its certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// The administrator's token.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        ADMIN
    }

    /// The administrator's configuration file.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// A configuration file for the bearer of `token`, in `dir`.
    #[must_use]
    pub fn kubeconfig(&self, dir: &Path, token: &str) -> PathBuf {
        let path = dir.join("kubeconfig");
        self.write_kubeconfig(&path, &self.url(), Some(token));
        path
    }

    /// The administrator's client, for the runtime of the caller.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.client(Some(ADMIN))
    }

    /// A client with this token, for the runtime of the caller.
    #[must_use]
    pub fn client(&self, token: Option<&str>) -> Client {
        Client::try_from(self.config(token)).expect("make a client")
    }

    /// What a client with this token needs to know.
    #[must_use]
    pub fn config(&self, token: Option<&str>) -> Config {
        let mut config = Config::new(self.url().parse().expect("a plain address"));
        config.root_cert = Some(vec![self.authority.der.clone()]);
        config.auth_info.token = token.map(|token| token.to_owned().into());
        config
    }

    /// A new namespace, with a random end to its name.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a plain namespace");
        Api::all(self.admin()).create(&PostParams::default(), &namespace).await.expect("create a namespace");
        name
    }

    /// Makes a service account where there is none, and a token for it.
    pub async fn service_account(&self, namespace: &str, name: &str) -> String {
        let api: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let account = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a plain account");
        match api.create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("create a service account: {error}"),
        }
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let issued = api.create_token_request(name, &PostParams::default(), &request).await.expect("ask for a token");
        issued.status.expect("a token").token
    }

    /// Runs `kubectl` as the administrator; its output, or a panic with what it said.
    #[must_use]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl_with(args, "").unwrap_or_else(|said| panic!("kubectl {}: {said}", args.join(" ")))
    }

    /// Runs `kubectl` with an input.
    ///
    /// # Errors
    /// What it wrote to its second output when it failed.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String, String> {
        let path = self.path(&format!("input-{}", uuid::Uuid::new_v4().simple()));
        fs::write(&path, input).expect("write a file");
        let output = Command::new(self.programs.path("kubectl"))
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", self.admin_kubeconfig())
            .stdin(File::open(&path).expect("open a file"))
            .output()
            .expect("start kubectl");
        let _ = fs::remove_file(&path);
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// One JSON line for each request that it has answered, without its own.
    #[must_use]
    pub fn audit_log(&self) -> String {
        fs::read_to_string(self.path("audit.log")).unwrap_or_default()
    }

    /// Stops the API server, as a node that is switched off; etcd goes on.
    pub fn stop(&self) {
        end(self.processes().api.take());
    }

    /// Starts it again on the same port, and waits until it is ready.
    ///
    /// # Panics
    /// In a runtime with one thread.
    pub fn up(&self) {
        tokio::task::block_in_place(|| self.start_api());
    }

    /// Stops the API server and starts it again.
    ///
    /// # Panics
    /// In a runtime with one thread.
    pub fn restart(&self) {
        self.stop();
        self.up();
    }

    /// Lets it answer nothing any more, without closing a connection. It has stopped when this returns.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal stops one thread after the other; on a busy machine the last ones go on for a while.
        if let Some(child) = &self.processes().api {
            let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(Pid::from_child(child)), stopped).expect("a child that stops");
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Writes a configuration file for another address of this server, a proxy's for example.
    pub fn write_kubeconfig(&self, path: &Path, url: &str, token: Option<&str>) {
        let mut cluster = json!({ "server": url });
        if url.starts_with("https") {
            let ca = self.path("ca.crt");
            fs::write(&ca, &self.authority.pem).expect("write a certificate");
            cluster["certificate-authority"] = ca.to_str().expect("a plain path").into();
        }
        let user = token.map_or_else(|| json!({}), |token| json!({ "token": token }));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        fs::write(path, config.to_string()).expect("write a configuration file");
    }

    fn start_etcd(&self) {
        let [client, peer] = self.etcd.map(|port| format!("http://127.0.0.1:{port}"));
        let data = self.path("etcd");
        let durable = self.options.durable;
        let log = self.log("etcd");
        let child = guardian::spawn(&self.programs.path("etcd"), move |command| {
            command
                .arg(format!("--data-dir={}", data.display()))
                .arg(format!("--listen-client-urls={client}"))
                .arg(format!("--advertise-client-urls={client}"))
                .arg(format!("--listen-peer-urls={peer}"))
                .arg(format!("--initial-advertise-peer-urls={peer}"))
                .arg(format!("--initial-cluster=default={peer}"))
                .arg("--log-level=warn");
            if !durable {
                command.arg("--unsafe-no-fsync");
            }
            outputs(command, &log);
        });
        self.processes().etcd = Some(child);
    }

    fn start_api(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        let mut args = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd[0]),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", at("server.crt")),
            format!("--tls-private-key-file={}", at("server.key")),
            format!("--cert-dir={}", at("certs")),
            format!("--token-auth-file={}", at("tokens.csv")),
            format!("--service-account-key-file={}", at("accounts.pub")),
            format!("--service-account-signing-key-file={}", at("accounts.key")),
        ];
        args.extend(
            [
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                // As OpenShift has it: who names an owner that may not go first needs the right to.
                "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
                "--shutdown-delay-duration=0s",
            ]
            .map(str::to_owned),
        );
        if !self.options.durable {
            args.push(format!("--audit-policy-file={}", at("audit.yaml")));
            args.push(format!("--audit-log-path={}", at("audit.log")));
        }
        let log = self.log("kube-apiserver");
        let child = guardian::spawn(&self.programs.path("kube-apiserver"), move |command| {
            command.args(args);
            outputs(command, &log);
        });
        self.processes().api = Some(child);
        self.await_ready();
    }

    /// Removes what belongs to objects that are gone; other controllers are not started.
    fn start_manager(&self) {
        let Some(program) = self.programs.optional("kube-controller-manager") else {
            return;
        };
        let kubeconfig = self.admin_kubeconfig();
        let log = self.log("kube-controller-manager");
        let child = guardian::spawn(&program, move |command| {
            command
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg("--controllers=garbage-collector-controller,namespace-controller")
                .args(["--leader-elect=false", "--secure-port=0"]);
            outputs(command, &log);
        });
        self.processes().manager = Some(child);
    }

    fn await_ready(&self) {
        let until = Instant::now() + PATIENCE;
        let mut said = String::new();
        while Instant::now() < until {
            let ended = self.processes().api.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "kube-apiserver ended ({ended:?}):\n{}", self.tail("kube-apiserver"));
            match self.kubectl_with(&["get", "--raw", "/readyz"], "") {
                Ok(_) => return,
                Err(error) => said = error,
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("kube-apiserver is not ready: {said}\n{}", self.tail("kube-apiserver"));
    }

    fn install_crds(&self) {
        let definitions: Vec<String> = jumpstarter_model::resource::crds()
            .iter()
            .map(|definition| serde_json::to_string(definition).expect("definitions are JSON"))
            .collect();
        let input = definitions.join("\n---\n");
        let apply = ["apply", "--server-side", "-f", "-"];
        self.kubectl_with(&apply, &input).unwrap_or_else(|said| panic!("install the custom resources: {said}"));
        let _ = self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.processes().api {
            kill_process(Pid::from_child(child), signal).expect("signal a child that was not waited for");
        }
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    fn tail(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let mut processes = self.processes();
        end(processes.manager.take());
        end(processes.api.take());
        end(processes.etcd.take());
    }
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        // Both fail only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn outputs(command: &mut Command, log: &Path) {
    let file = File::options().create(true).append(true).open(log).expect("create a log");
    let second = file.try_clone().expect("share the log");
    command.stdin(Stdio::null()).stdout(file).stderr(second);
}

/// A port below those that the system gives to outgoing connections, so that it is still free after a restart.
fn free_port() -> u16 {
    (0..1000)
        .map(|_| 12_000 + u16::try_from(uuid::Uuid::new_v4().as_u128() % 8_000).expect("below 8,000"))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port among a thousand")
}

/// Removes what programs have left that were killed or never dropped their server.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("jkube-")?.split('-').next()?.parse::<i32>().ok());
        if let Some(owner) = owner
            && !Path::new(&format!("/proc/{owner}")).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
