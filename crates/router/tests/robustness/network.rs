//! Real networks that delay, lose, reorder and break: each peer and the router in a network namespace of its own, joined
//! by links that misbehave on demand. Needs root and `ip`; without them these tests say so and do nothing.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jumpstarter_auth::Side;
use jumpstarter_protocol::v1::router_service_client::RouterServiceClient;
use jumpstarter_protocol::v1::{FrameType, StreamRequest};
use jumpstarter_router::Config;
use jumpstarter_transport::connect::{ChannelOptions, connect_plain};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::child::{Routing, Setup};
use crate::lab::{Digest, End, GOAWAY, Lab, Link, Peer, data, soon, ticket};
use crate::wire::{Quality, Wire};

/// The router's end of each link, and the peer's.
const LINKS: [(&str, &str, &str); 2] = [("c", "10.211.1.1", "10.211.1.2"), ("e", "10.211.2.1", "10.211.2.2")];
const CLIENT: usize = 0;
const EXPORTER: usize = 1;
const PORT: u16 = 7_000;

/// What is wrong with a link.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// Some packets in a hundred are late, out of order or lost.
    Loss,
    /// Nothing passes, and nobody is told.
    Partition,
}

/// Three namespaces: the router's in the middle, a client's and an exporter's. Gone when dropped.
struct Network {
    prefix: String,
}

impl Network {
    /// `None`, with the reason on standard error, where there are no namespaces to be had.
    fn new() -> Option<Self> {
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
    fn impair(&self, link: usize, fault: Fault) -> Result<(), String> {
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
    fn narrow(&self, link: usize, rate: &str) -> Result<(), String> {
        let who = LINKS[link].0;
        for (namespace, device) in [(self.name("r"), who), (self.name(who), "up")] {
            let args =
                format!("-n {namespace} qdisc replace dev {device} root tbf rate {rate} burst 16kb limit 1500000");
            run("tc", &args.split(' ').collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Answers whatever the router sends to a peer with a reset, as firewalls do that have forgotten a connection.
    fn refuse(&self, link: usize) -> Result<(), String> {
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
    fn unplug(&self, link: usize) {
        let who = LINKS[link].0;
        ip(&["-n", &self.name(who), "link", "set", "dev", "up", "down"]).unwrap();
        ip(&["-n", &self.name("r"), "link", "set", "dev", who, "down"]).unwrap();
    }

    fn router(&self, keepalive: Option<Duration>) -> Routing {
        let listen = format!("0.0.0.0:{PORT}");
        Routing::start(&Setup { listen: &listen, keepalive, namespace: Some(&self.name("r")), ..Setup::default() })
    }

    /// Runs `work` where a peer is.
    fn at<T: Send>(&self, link: usize, work: impl FnOnce(SocketAddr) -> T + Send) -> T {
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
    async fn link(&self, link: usize) -> Link {
        let socket = self.at(link, |router| TcpStream::connect(router).unwrap());
        socket.set_nonblocking(true).unwrap();
        Link::over(tokio::net::TcpStream::from_std(socket).unwrap()).await.unwrap()
    }

    /// A stream between the two.
    async fn pair(&self) -> (Peer, Peer) {
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

/// Sends `total` bytes in messages, and the end; a digest of them.
async fn pour(peer: Peer, total: usize, seed: u8) -> (Digest, Digest, End) {
    let Peer { mut writer, mut reader } = peer;
    let write = async {
        let mut digest = Digest::default();
        let mut left = total;
        let mut mark = seed;
        while left > 0 {
            let length = left.min(30_000);
            let message = data(&(0..length).map(|at| mark ^ u8::try_from(at % 256).unwrap()).collect::<Vec<u8>>());
            mark = mark.wrapping_add(1);
            left -= length;
            digest.add(&message);
            writer.send(message).await.unwrap();
        }
        digest.add(GOAWAY);
        writer.send(Bytes::from_static(GOAWAY)).await.unwrap();
        writer.finish().unwrap();
        digest
    };
    let read = async {
        let mut digest = Digest::default();
        loop {
            match reader.chunk().await {
                Ok(chunk) => digest.add(&chunk),
                Err(end) => return (digest, end),
            }
        }
    };
    let (sent, (received, end)) = tokio::join!(write, read);
    (sent, received, end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_arrive_whole_through_networks_that_delay_lose_and_reorder() {
    const BYTES: usize = 512 * 1024;
    let Some(network) = Network::new() else { return };
    let _router = network.router(None);
    network.impair(CLIENT, Fault::Loss).unwrap();
    network.impair(EXPORTER, Fault::Loss).unwrap();
    let started = Instant::now();
    let (client, exporter) = network.pair().await;
    let (client, exporter) = soon(async { tokio::join!(pour(client, BYTES, 1), pour(exporter, BYTES, 99)) }).await;
    println!("{BYTES} bytes each way in {:?}", started.elapsed());
    for ((sent, ..), (_, received, end)) in [(&client, &exporter), (&exporter, &client)] {
        assert_eq!(*end, End::ok());
        assert_eq!((received.length, received.value()), (sent.length, sent.value()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_a_network_that_is_away_for_a_moment() {
    let Some(network) = Network::new() else { return };
    let _router = network.router(None);
    let (mut client, mut exporter) = network.pair().await;
    client.send_data(b"before").await;
    exporter.expect(&data(b"before")).await;
    network.impair(CLIENT, Fault::Partition).unwrap();
    client.send_data(b"meanwhile").await;
    exporter.send_data(b"meanwhile, back").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    network.impair(CLIENT, Fault::None).unwrap();
    exporter.expect(&data(b"meanwhile")).await;
    client.expect(&data(b"meanwhile, back")).await;
}

/// As our own clients and exporters do it: with pings of their own.
async fn until_told(router: SocketAddr, stream: Uuid) -> Duration {
    let second = Duration::from_secs(1);
    let options =
        ChannelOptions { keepalive_interval: Some(second), keepalive_timeout: second, ..ChannelOptions::default() };
    let channel = connect_plain(&router.to_string(), &options).await.unwrap();
    let (frames, queue) = tokio::sync::mpsc::channel(4);
    let mut request = tonic::Request::new(ReceiverStream::new(queue));
    let bearer = format!("Bearer {}", ticket(stream, Side::Client));
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let mut answers = RouterServiceClient::new(channel).stream(request).await.unwrap().into_inner();
    let hello = StreamRequest { payload: Bytes::from_static(b"hello"), frame_type: FrameType::Data.into() };
    frames.send(hello).await.unwrap();
    // The last thing that it hears before the plug is pulled.
    assert_eq!(&answers.message().await.unwrap().unwrap().payload[..], b"unplug");
    let since = Instant::now();
    // An error, or the end: it is told.
    drop(soon(answers.message()).await);
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_learn_of_a_broken_link() {
    let Some(network) = Network::new() else { return };
    let mut router = network.router(Some(Duration::from_secs(1)));
    let stream = Uuid::new_v4();
    let exporter_link = network.link(EXPORTER).await;
    let mut exporter = exporter_link.open(&ticket(stream, Side::Exporter)).await;
    let learned = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            network.at(CLIENT, |address| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(until_told(address, stream))
            })
        });
        let ours = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                exporter.expect(&data(b"hello")).await;
                exporter.send_data(b"unplug").await;
                // Its acknowledgement is what the client's silence is counted from.
                tokio::time::sleep(Duration::from_millis(200)).await;
                network.unplug(CLIENT);
                let since = Instant::now();
                assert_eq!(exporter.end().await, (Bytes::from_static(GOAWAY), End::ok()));
                since.elapsed()
            })
        });
        (ours, client.join().unwrap())
    });
    println!(
        "told after the link broke: (exporter, client) {learned:?}, both pinging every second with a second's patience"
    );
    router.await_usage("rid of the stream", |usage| usage.open + usage.waiting == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_reset_ends_its_streams_alone() {
    let Some(network) = Network::new() else { return };
    let mut router = network.router(None);
    let (mut bystander, mut partner) = network.pair().await;
    let stream = Uuid::new_v4();
    let socket = network.at(CLIENT, |router| TcpStream::connect(router).unwrap());
    // Closing sends RST instead of FIN.
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let link = Link::over(tokio::net::TcpStream::from_std(socket).unwrap()).await.unwrap();
    let mut client = link.open(&ticket(stream, Side::Client)).await.owning(link);
    let exporter_link = network.link(EXPORTER).await;
    let mut exporter = exporter_link.open(&ticket(stream, Side::Exporter)).await;
    client.send_data(b"hello").await;
    exporter.expect(&data(b"hello")).await;
    client.cut();
    assert_eq!(exporter.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    bystander.send_data(b"still here").await;
    partner.expect(&data(b"still here")).await;
    router.await_usage("left with the bystanders", |usage| usage.open == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_by_a_firewall_is_given_up() {
    let Some(network) = Network::new() else { return };
    let mut router = network.router(None);
    let (mut client, mut exporter) = network.pair().await;
    client.send_data(b"hello").await;
    exporter.expect(&data(b"hello")).await;
    if let Err(reason) = network.refuse(CLIENT) {
        let _ = writeln!(std::io::stderr(), "SKIPPED, no firewall here: {reason}");
        return;
    }
    // The next bytes for the client show the router that it is gone; the client hears nothing at all.
    exporter.send_data(b"anybody there?").await;
    assert_eq!(exporter.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    router.await_usage("rid of the stream", |usage| usage.open + usage.waiting == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_arrive_whole_through_a_simulated_network() {
    const BYTES: usize = 1 << 20;
    let lab = Lab::start(Config::default()).await;
    let quality = Quality { delay: Duration::from_millis(10), jitter: Duration::from_millis(3), one_lost_in: 50 };
    let (near, far) = (Wire::to(lab.address, quality).await, Wire::to(lab.address, quality).await);
    let (client, exporter) = (Link::new(near.address).await, Link::new(far.address).await);
    let stream = Uuid::new_v4();
    let first = client.open(&ticket(stream, Side::Client)).await.owning(client);
    let second = exporter.open(&ticket(stream, Side::Exporter)).await.owning(exporter);
    let (client, exporter) = soon(async { tokio::join!(pour(first, BYTES, 1), pour(second, BYTES, 99)) }).await;
    for ((sent, ..), (_, received, end)) in [(&client, &exporter), (&exporter, &client)] {
        assert_eq!(*end, End::ok());
        assert_eq!((received.length, received.value()), (sent.length, sent.value()));
    }
}

/// A link that is filled for minutes must not look dead: what waits in its queues delays the answers to pings.
/// `cargo test -p jumpstarter-router --test robustness slow_links -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and a half"]
async fn slow_links_that_are_full_stay_alive() {
    let Some(network) = Network::new() else { return };
    for (rate, total) in [("1mbit", 5 << 20), ("512kbit", 3 << 20)] {
        let _router = network.router(None);
        network.narrow(CLIENT, rate).unwrap();
        let (client, exporter) = network.pair().await;
        let Peer { mut reader, writer: _writer } = client;
        let started = Instant::now();
        let Peer { mut writer, reader: _reader } = exporter;
        let write = async {
            let mut sent = 0;
            while sent < total {
                let message = data(&[3; 60_000]);
                sent += message.len();
                if writer.send(message).await.is_err() {
                    return None;
                }
            }
            Some(sent)
        };
        let read = async {
            let mut received = 0;
            loop {
                match reader.chunk().await {
                    Ok(chunk) => received += chunk.len(),
                    Err(end) => return (received, end),
                }
                if received >= total {
                    return (received, End::ok());
                }
            }
        };
        let (sent, (received, end)) = tokio::join!(write, read);
        println!("{rate}: {received} of {sent:?} bytes in {:?}, {end:?}", started.elapsed());
        assert_eq!(end, End::ok(), "{rate}: cut after {received} bytes");
    }
}
