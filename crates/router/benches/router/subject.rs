//! What is measured: our router, what it is compared with, and the processes that they run in.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{Side, TicketIssuer, TicketKey, TicketKeys};
use uuid::Uuid;

/// The key of the children.
pub const KEY: &str = "the key of one run on one machine";

/// What moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Router,
    /// (a) Copies between two TCP connections.
    Tcp,
    /// (b) Copies between two TLS connections.
    Tls,
    /// (c) Decodes and encodes messages.
    Decoding,
    /// (d) Another router, that somebody else started.
    Peer,
}

impl Kind {
    /// Whether it is a router: it has streams, on connections that several may share.
    pub fn routes(self) -> bool {
        matches!(self, Self::Router | Self::Decoding | Self::Peer)
    }

    /// The name of its role as a process, and for `--only=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Decoding => "decoding",
            Self::Peer => "peer",
        }
    }

    /// Those of `kinds` that there are in this run.
    pub fn present(kinds: &[Self]) -> Vec<Self> {
        let only = std::env::args().find_map(|argument| argument.strip_prefix("--only=").map(str::to_owned));
        let wanted = |kind: Self| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == kind.name()));
        let there = |kind: Self| kind != Self::Peer || peer().is_some();
        kinds.iter().copied().filter(|kind| wanted(*kind) && there(*kind)).collect()
    }
}

/// The other router, if one is named.
struct Other {
    address: SocketAddr,
    key: String,
    pid: Option<u32>,
}

fn peer() -> Option<&'static Other> {
    static PEER: OnceLock<Option<Other>> = OnceLock::new();
    PEER.get_or_init(|| {
        let address = std::env::var("ROUTER_PEER").ok()?;
        let file = std::env::var("ROUTER_PEER_KEY").expect("ROUTER_PEER_KEY names the file with its key");
        let address = std::net::ToSocketAddrs::to_socket_addrs(&address).unwrap().next().expect("an address");
        let key = std::fs::read_to_string(file).unwrap().trim().to_owned();
        let pid = std::env::var("ROUTER_PEER_PID").ok().map(|pid| pid.parse().unwrap());
        Some(Other { address, key, pid })
    })
    .as_ref()
}

/// A running one.
pub struct Subject {
    pub kind: Kind,
    pub address: SocketAddr,
    pub pid: Option<u32>,
    issuer: TicketIssuer,
    process: Option<Child>,
}

impl Subject {
    /// One thread on the first core.
    pub fn start(kind: Kind) -> Self {
        Self::with_threads(kind, 1)
    }

    pub fn with_threads(kind: Kind, threads: usize) -> Self {
        if kind == Kind::Peer {
            let other = peer().expect("asked for only when there is one");
            let issuer = TicketIssuer::new(&TicketKeys::new(TicketKey::from_bytes(other.key.as_str()).unwrap()));
            return Self { kind, address: other.address, pid: other.pid, issuer, process: None };
        }
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("taskset");
        command.arg("-c").arg(if threads == 1 { "0" } else { "0,1" }).arg(program);
        command.args([format!("--child={}", kind.name()), threads.to_string()]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the benchmark needs `taskset` (Debian: util-linux)");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let issuer = TicketIssuer::new(&TicketKeys::new(TicketKey::from_bytes(KEY).unwrap()));
        let address = line.trim().parse().expect("the child says where it listens");
        Self { kind, address, pid: Some(process.id()), issuer, process: Some(process) }
    }

    /// The tickets of the two halves of a new stream.
    pub fn tickets(&self) -> [String; 2] {
        let (stream, now) = (Uuid::new_v4(), Timestamp::now());
        [Side::Client, Side::Exporter]
            .map(|side| self.issuer.issue(stream, side, SignedDuration::from_mins(30), now).unwrap())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// Leaves the first core to the router under test.
pub fn pin_to_second_core() {
    let pid = std::process::id().to_string();
    drop(Command::new("taskset").args(["-a", "-p", "-c", "1", &pid]).stdout(Stdio::null()).status());
}
