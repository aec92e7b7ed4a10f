//! The service: `jumpstarter serve` on a data directory of the sandbox, or `jumpstarter controller` on Kubernetes.

use std::{
    env,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use rustix::process::Signal;

use crate::{Process, Sandbox, balancer::Balancer, cluster::Cluster, wait::MINUTE};

/// Enough to see in a failed test what happened, and why.
pub(crate) const LOG: &str = "info,jumpstarter=debug,jumpstarter_controller=debug,jumpstarter_router=debug";

/// Where its objects are.
#[derive(Debug)]
enum Place {
    /// In this directory.
    Directory(PathBuf),
    /// In a namespace.
    Cluster(Cluster),
}

/// The service and what is needed to start it again.
#[derive(Debug)]
pub struct Service {
    sandbox: Arc<Sandbox>,
    place: Place,
    address: String,
    flags: Vec<String>,
    /// The listening socket, when we hold it as systemd would.
    socket: Option<TcpListener>,
    /// Largest file it may write, in bytes.
    file_limit: Option<u64>,
    /// One, unless it is on Kubernetes.
    replicas: Vec<Replica>,
    /// In front of several replicas.
    _balancer: Option<Balancer>,
}

/// One process of the service.
#[derive(Debug)]
struct Replica {
    listen: String,
    process: Option<Process>,
}

impl Replica {
    fn at(listen: &str) -> Self {
        Self { listen: listen.to_owned(), process: None }
    }
}

impl Service {
    /// Starts it on a free port, and waits until it says that it is ready.
    #[track_caller]
    pub fn start(sandbox: &Arc<Sandbox>, flags: &[&str]) -> Self {
        Self::new(sandbox, flags, None)
    }

    /// Starts it on a socket that outlives it, handed over in the way of systemd.
    #[track_caller]
    pub fn start_activated(sandbox: &Arc<Sandbox>, flags: &[&str]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        Self::new(sandbox, flags, Some(socket))
    }

    /// Installs it on Kubernetes with so many replicas behind one address, and waits until all are ready.
    #[track_caller]
    pub fn on_kubernetes(sandbox: &Arc<Sandbox>, cluster: Cluster, replicas: usize) -> Self {
        let address = free_address();
        let listens: Vec<String> = (0..replicas).map(|_| free_address()).collect();
        let (replicas, balancer) = if replicas == 1 {
            (vec![Replica::at(&address)], None)
        } else {
            let balancer = Balancer::start(&address, &listens);
            (listens.iter().map(|listen| Replica::at(listen)).collect(), Some(balancer))
        };
        let mut service = Self {
            sandbox: Arc::clone(sandbox),
            place: Place::Cluster(cluster),
            address,
            flags: Vec::new(),
            socket: None,
            file_limit: None,
            replicas,
            _balancer: balancer,
        };
        service.up();
        service
    }

    /// Its manifests, as its operator would have them.
    #[track_caller]
    pub fn export(&self) -> String {
        let mut command = self.sandbox.command(&binary("jumpstarter"), "export");
        let output = command.args(["export", "--data-dir"]).arg(self.data()).output().expect("start the export");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("manifests are text")
    }

    /// Stops it and goes on in `cluster`, at the same address.
    #[track_caller]
    pub fn move_into(&mut self, cluster: Cluster) {
        self.stop();
        self.place = Place::Cluster(cluster);
        self.up();
    }

    #[track_caller]
    fn new(sandbox: &Arc<Sandbox>, flags: &[&str], socket: Option<TcpListener>) -> Self {
        let port = socket.as_ref().map_or_else(free_port, |socket| socket.local_addr().expect("a bound socket").port());
        let address = format!("127.0.0.1:{port}");
        let mut service = Self {
            sandbox: Arc::clone(sandbox),
            place: Place::Directory(sandbox.dir("data")),
            replicas: vec![Replica::at(&address)],
            _balancer: None,
            address,
            flags: flags.iter().map(ToString::to_string).collect(),
            socket,
            file_limit: None,
        };
        service.up();
        service
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its data directory.
    #[track_caller]
    pub fn data(&self) -> &Path {
        match &self.place {
            Place::Directory(path) => path,
            Place::Cluster(_) => panic!("a service on Kubernetes has no data directory"),
        }
    }

    /// Its installation, when it is on Kubernetes.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.place {
            Place::Directory(_) => None,
            Place::Cluster(cluster) => Some(cluster),
        }
    }

    /// The running process; the first of several.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.replica(0)
    }

    /// The running process of one replica.
    #[track_caller]
    pub fn replica(&mut self, number: usize) -> &mut Process {
        self.replicas[number].process.as_mut().expect("the service was stopped by the test")
    }

    /// The number of the replica that leads, by what it said last.
    pub fn leader(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| {
            let said = replica.process.as_ref().map(Process::output).unwrap_or_default();
            let last = said.lines().rev().find(|line| line.contains("\"leading\"") || line.contains("\"standing by\""));
            last.is_some_and(|line| line.contains("\"leading\""))
        })
    }

    /// The command that would start it.
    pub fn command(&self) -> Command {
        self.command_at(&self.address)
    }

    /// The command that would start it on another address.
    pub fn command_at(&self, address: &str) -> Command {
        // The descriptors of systemd begin at 3, and carry the number of the process that may take them. Writing
        // past the limit shall fail, not kill, as on a full disk.
        const LAUNCH: &str = r#"
            test -z "$FILE_BLOCKS" || { trap '' XFSZ; ulimit -f "$FILE_BLOCKS"; }
            test -z "$HANDED_OVER" || { exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; }
            exec "$@""#;
        if let Place::Cluster(cluster) = &self.place {
            return cluster.controller(address, &self.address);
        }
        let mut command = self.sandbox.command(Path::new("/bin/sh"), "service");
        command.args(["-c", LAUNCH, "sh"]).arg(binary("jumpstarter"));
        command.stdin(Stdio::null()).env("JUMPSTARTER_LOG", LOG);
        if let Some(limit) = self.file_limit {
            command.env("FILE_BLOCKS", (limit / 512).to_string());
        }
        if let Some(socket) = &self.socket {
            let copy = socket.try_clone().expect("share the socket");
            command.stdin(Stdio::from(OwnedFd::from(copy))).env("HANDED_OVER", "1");
        }
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen", address])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(&self.flags);
        command
    }

    /// From the next start on, lets it write no file beyond this size.
    pub fn limit_files(&mut self, bytes: Option<u64>) {
        self.file_limit = bytes;
    }

    /// Starts every process that is not running, on the same data and port, and waits until all are ready.
    #[track_caller]
    pub fn up(&mut self) {
        for number in 0..self.replicas.len() {
            let replica = &self.replicas[number];
            if replica.process.is_some() {
                continue;
            }
            let command = self.command_at(&replica.listen);
            let process = Process::start_with_stdin(&self.sandbox, "service", command);
            self.replicas[number].process = Some(process);
        }
        for replica in &mut self.replicas {
            replica.process.as_mut().expect("just started").wait_line("jumpstarter is ready");
        }
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub fn stop(&mut self) {
        (0..self.replicas.len()).for_each(|number| self.stop_replica(number));
    }

    /// Asks one replica to stop, and waits for its end.
    #[track_caller]
    pub fn stop_replica(&mut self, number: usize) {
        let mut process = self.replicas[number].process.take().expect("the service is running");
        process.signal(Signal::TERM);
        let status = process.wait(MINUTE);
        assert!(status.success(), "the service ended with {status}:\n{}", process.output());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        (0..self.replicas.len()).for_each(|number| self.kill_replica(number));
    }

    /// Ends one replica as a power cut would.
    pub fn kill_replica(&mut self, number: usize) {
        if let Some(mut process) = self.replicas[number].process.take() {
            process.kill_tree();
        }
    }
}

/// A program of this workspace, from the profile that the test was built with.
#[track_caller]
pub fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of the test");
    // Tests live in `target/PROFILE/deps`, programs one level up.
    let path = test.ancestors().nth(2).expect("a test lives in target/PROFILE/deps").join(name);
    assert!(path.exists(), "{name} is not built: run `cargo build --workspace --bins --tests`");
    path
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A port that nobody listens on, below those that the system gives to outgoing connections. A port that the
/// system chose could be given to somebody else between two runs of the service.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 100).expect("below 100") * 100;
    (0..100)
        .map(|_| 20_000 + own + NEXT.fetch_add(1, Ordering::Relaxed) % 100)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port among a hundred")
}
