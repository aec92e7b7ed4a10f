//! The byte stream over frames, without a network.
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jumpstarter_protocol::v1::{FrameType, StreamRequest, StreamResponse};
use jumpstarter_tunnel::{Frame as _, MAX_CHUNK, Tunnel, join};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

#[expect(clippy::unnecessary_wraps, reason = "the item of a stream")]
fn frame(kind: FrameType, payload: &'static [u8]) -> Result<StreamResponse, Status> {
    Ok(StreamResponse::new(kind, Bytes::from_static(payload)))
}

async fn read(frames: Vec<Result<StreamResponse, Status>>, open: bool) -> std::io::Result<Vec<u8>> {
    let (outbound, _kept) = mpsc::channel::<StreamRequest>(1);
    let inbound = stream::iter(frames);
    // A peer that half-closed keeps its call open.
    let inbound = if open { inbound.chain(stream::pending()).boxed() } else { inbound.boxed() };
    let mut bytes = Vec::new();
    Tunnel::new(inbound, outbound).read_to_end(&mut bytes).await.map(|_| bytes)
}

#[tokio::test]
async fn frames_become_bytes() {
    use FrameType::{Data, Goaway, Ping, RstStream};
    let unknown = || Ok(StreamResponse { payload: Bytes::from_static(b"?"), frame_type: 99 });
    let frames = vec![
        frame(Data, b"one "),
        frame(Data, b""),
        frame(Ping, b"ignored"),
        frame(RstStream, b"ignored"),
        unknown(),
        frame(Data, b"two"),
        frame(Goaway, b"ignored"),
        frame(Data, b"too late"),
    ];
    assert_eq!(read(frames, true).await.unwrap(), b"one two");
    assert_eq!(read(vec![frame(Data, b"end")], false).await.unwrap(), b"end", "a clean end is the same as GOAWAY");
    let err = read(vec![frame(Data, b"x"), Err(Status::aborted("cut"))], true).await.unwrap_err();
    assert!(err.to_string().contains("cut"), "{err}");
}

#[tokio::test]
async fn bytes_become_frames_of_limited_size_and_one_goaway() {
    let (outbound, frames) = mpsc::channel::<StreamRequest>(2);
    let mut tunnel = Tunnel::new(stream::pending::<Result<StreamResponse, Status>>(), outbound);
    let sent = vec![5; MAX_CHUNK * 3 + 1];
    let write = async {
        tunnel.write_all(&sent).await.unwrap();
        tunnel.shutdown().await.unwrap();
        tunnel.shutdown().await.unwrap();
        assert!(tunnel.write_all(b"more").await.is_err());
    };
    let (frames, ()) = tokio::join!(ReceiverStream::new(frames).collect::<Vec<_>>(), write);
    let sizes: Vec<_> = frames.iter().map(|f| (f.frame_type(), f.payload.len())).collect();
    let data = |n| (FrameType::Data, n);
    assert_eq!(sizes, [data(MAX_CHUNK), data(MAX_CHUNK), data(MAX_CHUNK), data(1), (FrameType::Goaway, 0)]);
}

#[tokio::test]
async fn two_tunnels_back_to_back_keep_both_half_closes() {
    let (to_b, from_a) = mpsc::channel::<StreamRequest>(2);
    let (to_a, from_b) = mpsc::channel::<StreamResponse>(2);
    let a = Tunnel::new(ReceiverStream::new(from_b).map(Ok::<_, Status>), to_b);
    let b = Tunnel::new(ReceiverStream::new(from_a).map(Ok::<_, Status>), to_a);
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
        // The other direction is still open.
        write.write_all(&vec![b'a'; 100_000]).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (there, back, (), ()) = tokio::join!(join(left_end, a), join(right_end, b), asker, answerer);
    assert_eq!(there.unwrap(), (8, 100_000));
    assert_eq!(back.unwrap(), (100_000, 8));
}
