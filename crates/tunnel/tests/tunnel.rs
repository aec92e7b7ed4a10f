//! Tunnels between a real HTTP/2 client and server, in memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jumpstarter_tunnel::{DataMessage, MAX_CHUNK, Tunnel, accept, join, join_halves, open, open_with};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
    task::JoinSet,
};
use tonic::{
    Code, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

/// A server whose accepted tunnels come out of a queue; a call to `refuse` is refused.
struct Peer {
    channel: Channel,
    accepted: mpsc::Receiver<Tunnel>,
    tasks: JoinSet<()>,
}

impl Peer {
    async fn start() -> Self {
        let (there, here) = tokio::io::duplex(1 << 20);
        let (tunnels, accepted) = mpsc::channel(8);
        let service = service_fn(move |request: Request<Incoming>| {
            let tunnels = tunnels.clone();
            async move {
                if request.headers().contains_key("refuse") {
                    return Ok::<_, Status>(Status::not_found("no such stream").into_http());
                }
                let mut metadata = MetadataMap::new();
                metadata.insert("resource", "42".parse().unwrap());
                match accept(request, metadata) {
                    Ok((tunnel, response)) => {
                        tunnels.send(tunnel).await.unwrap();
                        Ok(response)
                    }
                    Err(status) => Ok(status.into_http()),
                }
            }
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let connection = http2::Builder::new(TokioExecutor::new())
                .max_frame_size(64 * 1024)
                .serve_connection(TokioIo::new(here), service);
            let _ = connection.await;
        });
        let io = Arc::new(Mutex::new(Some(there)));
        let connect = tower::service_fn(move |_| {
            let io = io.lock().unwrap().take();
            async move { io.map(TokioIo::<DuplexStream>::new).ok_or(io::Error::other("one connection only")) }
        });
        let channel = Endpoint::from_static("http://peer").connect_with_connector(connect).await.unwrap();
        Self { channel, accepted, tasks }
    }

    /// A tunnel's both ends.
    async fn pair(&mut self) -> (Tunnel, Tunnel) {
        let (client, metadata) = open_with(self.channel.clone(), MetadataMap::new()).await.unwrap();
        assert_eq!(metadata.get("resource").unwrap(), "42");
        (client, self.accepted.recv().await.unwrap())
    }
}

#[tokio::test]
async fn both_directions_end_apart() {
    let mut peer = Peer::start().await;
    let (mut client, mut server) = peer.pair().await;
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let there = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(client.write_all(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let back = async {
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        // The other direction is still open.
        server.write_all(&heard).await.unwrap();
        server.shutdown().await.unwrap();
        server.finish(Status::ok("")).await.unwrap();
        heard.len()
    };
    let (answer, heard) = tokio::join!(there, back);
    assert_eq!(heard, sent.len());
    assert_eq!(answer, sent);
}

#[tokio::test]
async fn a_ticket_that_waits_for_its_partner_keeps_what_is_written() {
    let mut peer = Peer::start().await;
    let mut client = open(peer.channel.clone(), "ticket").unwrap();
    client.write_all(b"early").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let reading = client.read_to_end(&mut rest);
    let serving = async {
        let mut server = peer.accepted.recv().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"early");
        server.write_all(b"late").await.unwrap();
        server.finish(Status::ok("")).await.unwrap();
    };
    let (read, ()) = tokio::join!(reading, serving);
    read.unwrap();
    assert_eq!(rest, b"late", "a clean end is the same as GOAWAY");
    assert_eq!(open(peer.channel.clone(), "bad\nticket").unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn refusals_and_final_statuses_are_told() {
    let mut peer = Peer::start().await;
    let mut metadata = MetadataMap::new();
    metadata.insert("refuse", "yes".parse().unwrap());
    assert_eq!(open_with(peer.channel.clone(), metadata).await.unwrap_err().code(), Code::NotFound);
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-encoding", "gzip".parse().unwrap());
    assert_eq!(open_with(peer.channel.clone(), metadata).await.unwrap_err().code(), Code::Unimplemented);

    let (mut client, mut server) = peer.pair().await;
    server.write_all(b"half").await.unwrap();
    server.finish(Status::data_loss("the device burst")).await.unwrap();
    let mut heard = Vec::new();
    let err = client.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!((heard.as_slice(), err.kind()), (&b"half"[..], io::ErrorKind::ConnectionReset));
    assert!(err.to_string().contains("the device burst"), "{err}");
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "an error is told once");
}

#[tokio::test]
async fn a_cut_is_never_taken_for_an_end() {
    let mut peer = Peer::start().await;
    // The server forgets its tunnel.
    let (mut client, mut server) = peer.pair().await;
    server.write_all(b"half").await.unwrap();
    drop(server);
    let mut heard = Vec::new();
    let err = client.read_to_end(&mut heard).await.unwrap_err();
    assert!(err.to_string().contains("the stream was cut"), "{err}");
    // The client forgets its own.
    let (mut client, mut server) = peer.pair().await;
    client.write_all(b"half").await.unwrap();
    let mut heard = [0; 4];
    server.read_exact(&mut heard).await.unwrap();
    drop(client);
    assert!(server.read_to_end(&mut Vec::new()).await.is_err());
    let (_reader, writer) = server.into_split();
    writer.closed().await;
    assert_eq!(writer.send(DataMessage::from(&b"x"[..])).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    // The connection goes in the middle of a transfer.
    let (mut client, mut server) = peer.pair().await;
    server.write_all(&[1; 1000]).await.unwrap();
    client.read_exact(&mut [0; 1000]).await.unwrap();
    peer.tasks.shutdown().await;
    assert!(client.read_to_end(&mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn joined_streams_keep_both_half_closes() {
    let mut peer = Peer::start().await;
    let (client, server) = peer.pair().await;
    let (left, left_end) = tokio::io::duplex(64);
    let (right, right_end) = tokio::io::duplex(64);
    let asker = async {
        let (mut read, mut write) = tokio::io::split(left);
        write.write_all(b"question").await.unwrap();
        write.shutdown().await.unwrap();
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), 100_000);
    };
    let answerer = async {
        let (mut read, mut write) = tokio::io::split(right);
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        write.write_all(&vec![b'a'; 100_000]).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let serving = async {
        let (mut reader, writer) = server.into_split();
        let counts = join_halves(right_end, &mut reader, &writer).await.unwrap();
        writer.finish(Status::ok("")).await.unwrap();
        counts
    };
    let (there, back, (), ()) = tokio::join!(join(left_end, client), serving, asker, answerer);
    assert_eq!(there.unwrap(), (8, 100_000));
    assert_eq!(back, (100_000, 8));
}

#[tokio::test]
async fn a_silent_stream_is_let_go_when_the_peer_leaves() {
    let mut peer = Peer::start().await;
    let (mut client, server) = peer.pair().await;
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut device, end) = tokio::io::duplex(64);
    let serving = async {
        let (mut reader, writer) = server.into_split();
        join_halves(end, &mut reader, &writer).await
    };
    let leaving = async {
        let mut heard = [0; 10];
        device.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"last words");
        // The device says nothing and stays open.
        drop(client);
    };
    let (served, ()) = tokio::join!(serving, leaving);
    assert_eq!(served.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_waits_for_the_answer_as_long_as_it_takes() {
    let mut peer = Peer::start().await;
    let (client, mut server) = peer.pair().await;
    let (mut program, end) = tokio::io::duplex(64);
    let serving = async {
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        // Paused time: an hour passes as soon as nothing else can happen.
        tokio::time::sleep(std::time::Duration::from_hours(1)).await;
        server.write_all(b"late answer").await.unwrap();
        server.shutdown().await.unwrap();
        server.finish(Status::ok("")).await.unwrap();
    };
    let asking = async {
        program.write_all(b"question").await.unwrap();
        program.shutdown().await.unwrap();
        let mut answer = Vec::new();
        program.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"late answer");
    };
    let (joined, (), ()) = tokio::join!(join(end, client), serving, asking);
    assert_eq!(joined.unwrap(), (8, 11));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_writes_arrive_once_in_order_and_whole(sizes in proptest::collection::vec(0..(2 * MAX_CHUNK), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut peer = Peer::start().await;
            let (client, mut server) = peer.pair().await;
            let sent: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
            let (mut reader, writer) = client.into_split();
            let there = async {
                let mut rest = sent.as_slice();
                for &size in &sizes {
                    let (part, after) = rest.split_at(size);
                    rest = after;
                    writer.send(DataMessage::from(part)).await.unwrap();
                }
                writer.shutdown().await.unwrap();
                let mut answer = Vec::new();
                while let Some(chunk) = reader.next().await.unwrap() {
                    answer.extend_from_slice(&chunk);
                }
                answer
            };
            let back = async {
                let mut buffer = vec![0; 10_000];
                loop {
                    let n = server.read(&mut buffer).await.unwrap();
                    if n == 0 {
                        break;
                    }
                    server.write_all(&buffer[..n]).await.unwrap();
                }
                server.shutdown().await.unwrap();
                server.finish(Status::ok("")).await.unwrap();
            };
            let (answer, ()) = tokio::join!(there, back);
            prop_assert_eq!(answer, sent);
            Ok(())
        })?;
    }
}
