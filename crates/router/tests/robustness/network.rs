//! Networks that delay, lose, reorder and break, between peers and router. The real ones need root, `ip` and `tc` or
//! `iptables`; without them these tests say so and do nothing, and what is left is the simulated one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jumpstarter_auth::Side;
use jumpstarter_protocol::v1::router_service_client::RouterServiceClient;
use jumpstarter_protocol::v1::{FrameType, StreamRequest};
use jumpstarter_router::Config;
use jumpstarter_transport::connect::{ChannelOptions, connect_plain};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::lab::{Digest, End, GOAWAY, Lab, Link, Peer, data, soon, ticket};
use crate::netns::{CLIENT, EXPORTER, Fault, Network};
use crate::wire::{Quality, Wire};

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
                let message = data(&vec![3; 60_000]);
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
