//! A network that misbehaves on demand: each peer and the router in a network namespace of its own, joined by links.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jumpstarter_auth::Side;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use uuid::Uuid;

use crate::child::{Routing, Setup};
use crate::lab::{Link, Peer, ticket};

/// The router's end of each link, and the peer's.
const LINKS: [(&str, &str, &str); 2] = [("c", "10.211.1.1", "10.211.1.2"), ("e", "10.211.2.1", "10.211.2.2")];
pub(crate) const CLIENT: usize = 0;
pub(crate) const EXPORTER: usize = 1;
const PORT: u16 = 7_000;

/// What is wrong with a link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    None,
    /// Some packets in a hundred are late, out of order or lost.
    Loss,
    /// Nothing passes, and nobody is told.
    Partition,
}

/// Three namespaces: the router's in the middle, a client's and an exporter's. Gone when dropped.
pub(crate) struct Network {
    prefix: String,
}

impl Network {
    /// `None`, with the reason on standard error, where there are no namespaces to be had.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Of this process, so that those of one that was killed can be told from those in use.
        let network = Self { prefix: format!("jr{}x{number}", std::process::id()) };
        match network.build() {
            Ok(()) => Some(network),
            Err(reason) => {
                // Past the harness, which shows the output of failed tests only.
                let _ = writeln!(std::io::stderr(), "SKIPPED, no network namespaces here: {reason}");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        for who in ["r", "c", "e"] {
            ip(&["netns", "add", &self.name(who)])?;
            ip(&["-n", &self.name(who), "link", "set", "dev", "lo", "up"])?;
        }
        for (who, near, far) in LINKS {
            let (router, peer) = (self.name("r"), self.name(who));
            ip(&["-n", &router, "link", "add", who, "type", "veth", "peer", "name", "up", "netns", &peer])?;
            ip(&["-n", &router, "addr", "add", &format!("{near}/24"), "dev", who])?;
            ip(&["-n", &peer, "addr", "add", &format!("{far}/24"), "dev", "up"])?;
            ip(&["-n", &router, "link", "set", "dev", who, "up"])?;
            ip(&["-n", &peer, "link", "set", "dev", "up", "up"])?;
        }
        // What the tests do to the links must work as well, or they would prove nothing.
        self.impair(CLIENT, Fault::Loss).and_then(|()| self.impair(CLIENT, Fault::None))
    }

    fn name(&self, who: &str) -> String {
        format!("{}{who}", self.prefix)
    }

    /// What is wrong with a peer's link from now on, in both directions.
    pub(crate) fn impair(&self, link: usize, fault: Fault) -> Result<(), String> {
        let who = LINKS[link].0;
        for (namespace, device) in [(self.name("r"), who), (self.name(who), "up")] {
            let tc = |words: &str| {
                let args = format!("-n {namespace} qdisc replace dev {device} root {words}");
                run("tc", &args.split(' ').collect::<Vec<_>>())
            };
            let tables = |words: &str| {
                let args = format!("netns exec {namespace} iptables -w {words}");
                ip(&args.split(' ').collect::<Vec<_>>())
            };
            let netem = match fault {
                Fault::None => "netem delay 0ms",
                Fault::Loss => "netem delay 10ms 3ms loss 1% reorder 5%",
                Fault::Partition => "netem loss 100%",
            };
            if tc(netem).is_ok() {
                continue;
            }
            // A kernel without netem: packets are dropped as they arrive, and a short queue before a narrow link delays.
            tables(&format!(
                "-D INPUT -i {device} -m comment --comment fault -m statistic --mode random --probability 0.01 -j DROP"
            ))
            .ok();
            tables(&format!("-D INPUT -i {device} -m comment --comment fault -j DROP")).ok();
            match fault {
                Fault::None => tc("tbf rate 10gbit burst 1mb latency 50ms")?,
                Fault::Loss => {
                    tc("tbf rate 30mbit burst 16kb latency 20ms")?;
                    tables(&format!(
                        "-A INPUT -i {device} -m comment --comment fault -m statistic --mode random --probability 0.01 -j DROP"
                    ))?;
                }
                Fault::Partition => tables(&format!("-A INPUT -i {device} -m comment --comment fault -j DROP"))?,
            }
        }
        Ok(())
    }

    /// A slow link with the queue of a home router before it: a thousand packets.
    pub(crate) fn narrow(&self, link: usize, rate: &str) -> Result<(), String> {
        let who = LINKS[link].0;
        for (namespace, device) in [(self.name("r"), who), (self.name(who), "up")] {
            let args =
                format!("-n {namespace} qdisc replace dev {device} root tbf rate {rate} burst 16kb limit 1500000");
            run("tc", &args.split(' ').collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Answers whatever the router sends to a peer with a reset, as firewalls do that have forgotten a connection.
    pub(crate) fn refuse(&self, link: usize) -> Result<(), String> {
        let who = self.name(LINKS[link].0);
        ip(&[
            "netns",
            "exec",
            &who,
            "iptables",
            "-w",
            "-A",
            "INPUT",
            "-i",
            "up",
            "-p",
            "tcp",
            "-j",
            "REJECT",
            "--reject-with",
            "tcp-reset",
        ])
    }

    /// Pulls the plug of a peer's link.
    pub(crate) fn unplug(&self, link: usize) {
        let who = LINKS[link].0;
        ip(&["-n", &self.name(who), "link", "set", "dev", "up", "down"]).unwrap();
        ip(&["-n", &self.name("r"), "link", "set", "dev", who, "down"]).unwrap();
    }

    pub(crate) fn router(&self, keepalive: Option<Duration>) -> Routing {
        let listen = format!("0.0.0.0:{PORT}");
        Routing::start(&Setup { listen: &listen, keepalive, namespace: Some(&self.name("r")), ..Setup::default() })
    }

    /// Runs `work` where a peer is.
    pub(crate) fn at<T: Send>(&self, link: usize, work: impl FnOnce(SocketAddr) -> T + Send) -> T {
        let (who, near, _) = LINKS[link];
        let namespace = self.name(who);
        let router = format!("{near}:{PORT}").parse().unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                enter(&namespace);
                work(router)
            });
            there.join().unwrap()
        })
    }

    /// A connection from a peer's place. Sockets stay where they were made.
    pub(crate) async fn link(&self, link: usize) -> Link {
        let socket = self.at(link, |router| TcpStream::connect(router).unwrap());
        socket.set_nonblocking(true).unwrap();
        Link::over(tokio::net::TcpStream::from_std(socket).unwrap()).await.unwrap()
    }

    /// A stream between the two.
    pub(crate) async fn pair(&self) -> (Peer, Peer) {
        let stream = Uuid::new_v4();
        let (client, exporter) = (self.link(CLIENT).await, self.link(EXPORTER).await);
        let first = client.open(&ticket(stream, Side::Client)).await.owning(client);
        let second = exporter.open(&ticket(stream, Side::Exporter)).await.owning(exporter);
        (first, second)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for who in ["r", "c", "e"] {
            let _ = ip(&["netns", "del", &self.name(who)]);
        }
    }
}

/// Takes away what processes left behind that were killed.
fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("jr").and_then(|rest| rest.split_once('x')).map(|(pid, _)| pid.parse::<u32>());
        if let Some(Ok(pid)) = owner
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    run("ip", args)
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let what = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).output().map_err(|error| format!("{}: {error}", what()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Moves this thread, and this one alone, into a namespace.
fn enter(namespace: &str) {
    let link = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}
