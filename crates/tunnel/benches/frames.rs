//! A byte stream through the frames of `RouterService.Stream`, over the same with generated code.
//!
//! Both go through one HTTP/2 connection over loopback, from a writer with a buffer to a reader with a buffer, on one
//! thread: what is printed is bytes per CPU-second of both ends together. `cargo bench -p jumpstarter-tunnel`.
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jumpstarter_protocol::v1::{
    FrameType, StreamRequest, StreamResponse,
    router_service_client::RouterServiceClient,
    router_service_server::{RouterService, RouterServiceServer},
};
use jumpstarter_tunnel::{MAX_CHUNK, accept, open_with};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
};
use tonic::{
    Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{Channel, Endpoint, Server},
};

const BYTES: usize = 2 * 1024 * 1024 * 1024;
const FRAME: u32 = 64 * 1024;
const WINDOW: u32 = 4 * 1024 * 1024;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start a runtime");
    runtime.block_on(async {
        // In turns, so that a change of the machine's mood meets both.
        for _ in 0..3 {
            let generated = generated().await;
            let bodies = bodies().await;
            eprintln!("generated {generated:.0} MiB/s, bodies {bodies:.0} MiB/s, ratio {:.2}", bodies / generated);
        }
    });
}

fn rate(begin: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mib = BYTES as f64 / 1024.0 / 1024.0;
    mib / begin.elapsed().as_secs_f64()
}

async fn channel(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(32 * WINDOW);
    endpoint.max_frame_size(FRAME).connect().await.expect("connect")
}

/// The way of the generated code: messages are encoded, gathered and decoded, and bytes copied in and out of them.
async fn generated() -> f64 {
    struct Sink;

    #[tonic::async_trait]
    impl RouterService for Sink {
        type StreamStream = BoxStream<'static, Result<StreamResponse, Status>>;

        async fn stream(
            &self,
            request: tonic::Request<Streaming<StreamRequest>>,
        ) -> Result<Response<Self::StreamStream>, Status> {
            let mut incoming = request.into_inner();
            let mut buffer = vec![0; MAX_CHUNK];
            let done = async move {
                let mut read = 0;
                while let Some(Ok(frame)) = incoming.next().await {
                    let mut payload = frame.payload;
                    while !payload.is_empty() {
                        let n = payload.len().min(buffer.len());
                        buffer[..n].copy_from_slice(&payload[..n]);
                        payload.advance(n);
                        read += n;
                    }
                }
                assert_eq!(read, BYTES, "all of it");
                Ok(StreamResponse { payload: Bytes::new(), frame_type: FrameType::Goaway.into() })
            };
            Ok(Response::new(futures::stream::once(done).boxed()))
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
    let port = listener.local_addr().expect("a bound socket").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(32 * WINDOW)
            .max_frame_size(FRAME)
            .add_service(RouterServiceServer::new(Sink));
        let _ = server.serve_with_incoming(incoming).await;
    });
    let mut client = RouterServiceClient::new(channel(port).await);
    let begin = Instant::now();
    let (sender, receiver) = mpsc::channel(8);
    let mut answer = client.stream(queued(receiver)).await.expect("open a stream").into_inner();
    tasks.spawn(async move {
        let buffer = vec![7; MAX_CHUNK];
        let mut left = BYTES;
        while left > 0 {
            let n = left.min(MAX_CHUNK);
            let payload = Bytes::copy_from_slice(&buffer[..n]);
            sender.send(StreamRequest { payload, frame_type: 0 }).await.expect("the stream is open");
            left -= n;
        }
    });
    answer.next().await.expect("an answer").expect("a good one");
    rate(begin)
}

fn queued(mut receiver: mpsc::Receiver<StreamRequest>) -> impl Stream<Item = StreamRequest> + Send + 'static {
    futures::stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// Ours.
async fn bodies() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
    let port = listener.local_addr().expect("a bound socket").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (io, _) = listener.accept().await.expect("accept");
        io.set_nodelay(true).expect("set an option");
        let (done, mut streams) = mpsc::channel(1);
        let service = service_fn(move |request: Request<Incoming>| {
            let done = done.clone();
            async move {
                let (tunnel, response) = accept(request, MetadataMap::new())?;
                let _ = done.send(tunnel).await;
                Ok::<_, Status>(response)
            }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(32 * WINDOW).max_frame_size(FRAME);
        let connection = builder.serve_connection(TokioIo::new(io), service);
        let sink = async {
            let mut tunnel = streams.recv().await.expect("a stream");
            let mut buffer = vec![0; MAX_CHUNK];
            let mut read = 0;
            loop {
                match tunnel.read(&mut buffer).await.expect("read") {
                    0 => break,
                    n => read += n,
                }
            }
            assert_eq!(read, BYTES, "all of it");
            tunnel.shutdown().await.expect("shut down");
            tunnel.finish(Status::ok("")).await.expect("finish");
        };
        let _ = tokio::join!(connection, sink);
    });
    let channel = channel(port).await;
    let begin = Instant::now();
    let (mut tunnel, _) = open_with(channel, MetadataMap::new()).await.expect("open a stream");
    let buffer = vec![7; MAX_CHUNK];
    let mut left = BYTES;
    while left > 0 {
        let n = left.min(MAX_CHUNK);
        tunnel.write_all(&buffer[..n]).await.expect("write");
        left -= n;
    }
    tunnel.shutdown().await.expect("shut down");
    tunnel.read_to_end(&mut Vec::new()).await.expect("an answer");
    rate(begin)
}
