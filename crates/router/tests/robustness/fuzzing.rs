//! One connection whose client sends whatever bytes the fuzzer wants, beside an honest pair on connections of its own.
//! Shared by the fuzz targets and by the property tests.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use jiff::{SignedDuration, Timestamp};
use jumpstarter_router::scanner::Scanner;
use jumpstarter_router::{Config, Refusal, Router, Side, StreamId, StreamTicket, TicketCheck};
use jumpstarter_transport::serve::serve_stream;
use jumpstarter_transport::{PeerAddr, ServeLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;

/// Far beyond what anything here takes; reached only by a hang.
const HANG: Duration = Duration::from_mins(1);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Takes `c7` for the client's ticket of stream 7, `e7` for its exporter's.
struct Plain;

impl TicketCheck for Plain {
    fn check(&self, bearer: &str) -> Result<StreamTicket, Refusal> {
        let (side, stream) = match bearer.split_at_checked(1) {
            Some(("c", stream)) => (Side::Client, stream),
            Some(("e", stream)) => (Side::Exporter, stream),
            _ => return Err(Refusal::InvalidTicket),
        };
        Ok(StreamTicket {
            stream_id: StreamId::new(stream),
            side: Some(side),
            one_use_id: stream.to_owned(),
            expires_at: Timestamp::now() + SignedDuration::from_mins(30),
        })
    }
}

/// Feeds `data`, as it is, to a connection of a router.
///
/// # Panics
/// When the router panics, hangs, keeps something, or an honest stream beside it suffers.
pub fn connection(data: &[u8]) {
    feed(data.to_vec());
}

/// Feeds frames made of `data`: well-formed HTTP/2 that asks for streams of this router, and what a mutation makes of it.
///
/// # Panics
/// As [`connection`].
pub fn frames(data: &[u8]) {
    feed(structured(data));
}

fn feed(bytes: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let hang = tokio::time::timeout(HANG, scenario(bytes)).await;
        hang.expect("the router hangs");
        let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(left, 0, "tasks are left");
    });
}

async fn scenario(bytes: Vec<u8>) {
    let router =
        Router::new(Config { max_streams: 64, max_message_bytes: 1 << 20, ..Config::default() }, Arc::new(Plain));
    let (client, client_served) = serve(&router);
    let (exporter, exporter_served) = serve(&router);
    let (mut client, client_task) = half(client, "c-honest").await;
    let (mut exporter, exporter_task) = half(exporter, "e-honest").await;
    client.exchange(&mut exporter, b"before").await;

    let (mut odd, odd_served) = serve(&router);
    let reading = async {
        // Some peers never read; one that reads lets the router go further.
        let mut sink = Vec::new();
        let (mut receive, mut send) = tokio::io::split(&mut odd);
        let write = async {
            // The router may hang up in the middle; that is an answer, too.
            let _ = send.write_all(&bytes).await;
            let _ = send.shutdown().await;
        };
        let _ = tokio::join!(write, receive.read_to_end(&mut sink));
    };
    reading.await;
    drop(odd);
    ended(odd_served).await;

    // Nobody else noticed.
    client.exchange(&mut exporter, b"after").await;
    drop((client, exporter));
    for task in [client_task, exporter_task, client_served, exporter_served] {
        ended(task).await;
    }
    let stats = router.stats();
    assert_eq!((stats.open, stats.waiting), (0, 0), "streams are left: {stats:?}");
}

/// Waits for the end of the one task.
async fn ended(mut task: JoinSet<()>) {
    while let Some(ended) = task.join_next().await {
        ended.expect("no task of a connection panics");
    }
}

/// A connection to `router` within this process.
fn serve(router: &Router) -> (DuplexStream, JoinSet<()>) {
    let (ours, theirs) = duplex(64 * 1024);
    let service = router.clone().into_axum_router();
    let mut served = JoinSet::new();
    served.spawn(async move {
        // How it ends is the peer's business.
        drop(serve_stream(theirs, PeerAddr::Unix { uid: None }, &ServeLimits::default(), service).await);
    });
    (ours, served)
}

/// An honest half.
struct Honest {
    requests: h2::SendStream<Bytes>,
    responses: Option<h2::RecvStream>,
    answer: Option<h2::client::ResponseFuture>,
    _send: h2::client::SendRequest<Bytes>,
}

async fn half(io: DuplexStream, ticket: &str) -> (Honest, JoinSet<()>) {
    let (mut send, connection) = h2::client::handshake(io).await.expect("a handshake");
    let mut task = JoinSet::new();
    task.spawn(async move { drop(connection.await) });
    let request = http::Request::post("http://router/jumpstarter.v1.RouterService/Stream")
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {ticket}"))
        .body(())
        .expect("a request");
    let (answer, requests) = send.send_request(request, false).expect("a call");
    (Honest { requests, responses: None, answer: Some(answer), _send: send }, task)
}

impl Honest {
    async fn exchange(&mut self, other: &mut Self, text: &[u8]) {
        for (from, to) in [(0, 1), (1, 0)] {
            let pair = [&mut *self, &mut *other];
            let message = grpc(&[&[0x0a, u8::try_from(text.len()).expect("short")], text].concat());
            pair[from].requests.send_data(message.clone().into(), false).expect("open");
            pair[to].expect(&message).await;
        }
    }

    async fn expect(&mut self, expected: &[u8]) {
        if let Some(answer) = self.answer.take() {
            self.responses = Some(answer.await.expect("an answer").into_body());
        }
        let responses = self.responses.as_mut().expect("answered");
        let mut got = Vec::new();
        while got.len() < expected.len() {
            let chunk = responses.data().await.expect("bytes, not an end").expect("bytes");
            responses.flow_control().release_capacity(chunk.len()).expect("within the window");
            got.extend_from_slice(&chunk);
        }
        assert_eq!(got, expected, "an honest stream got something else");
    }
}

fn grpc(body: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.put_u32(u32::try_from(body.len()).expect("short"));
    message.extend_from_slice(body);
    message
}

/// A cursor over the fuzzer's bytes; noughts after their end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// Turns choices into the bytes of a client's connection.
fn structured(data: &[u8]) -> Vec<u8> {
    let mut choices = Choices(data);
    let mut out = PREFACE.to_vec();
    let first = settings(&mut choices);
    frame(&mut out, 4, 0, 0, &first);
    let mut next: u32 = 1;
    let mut steps = 0;
    while !choices.0.is_empty() && steps < 400 {
        steps += 1;
        // Mostly streams that exist.
        let stream = match choices.below(8) {
            0 => next + 2,
            1 => 0,
            2 => next + 1,
            back => next.saturating_sub(2 * u32::try_from(back).expect("small")).max(1) | 1,
        };
        match choices.below(16) {
            0..=3 => {
                let headers = request(&mut choices);
                let flags = 0x4 | u8::from(choices.below(6) == 0);
                if choices.below(8) == 0 && headers.len() > 4 {
                    let (start, rest) = headers.split_at(headers.len() / 2);
                    frame(&mut out, 1, flags & !0x4, next, start);
                    frame(&mut out, 9, 0x4, next, rest);
                } else {
                    frame(&mut out, 1, flags, next, &headers);
                }
                next += 2;
            }
            4..=8 => {
                let body = body(&mut choices);
                let end = u8::from(choices.below(5) == 0);
                frame(&mut out, 0, end, stream, &body);
            }
            9 => frame(&mut out, 3, 0, stream, &u32::from(choices.byte()).to_be_bytes()),
            10 => {
                let increment =
                    u32::from_be_bytes([choices.byte() >> 4, choices.byte(), choices.byte(), choices.byte()]);
                frame(&mut out, 8, 0, if choices.below(2) == 0 { 0 } else { stream }, &increment.to_be_bytes());
            }
            11 => {
                let flags = u8::from(choices.below(2) == 0);
                frame(&mut out, 6, flags, 0, &[7; 8]);
            }
            12 => {
                let more = settings(&mut choices);
                frame(&mut out, 4, 0, 0, &more);
            }
            13 => frame(&mut out, 7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, choices.byte()]),
            14 => {
                // A frame of no known kind, or one with odd flags or a false length.
                let (kind, flags, count) = (choices.byte(), choices.byte(), choices.below(64));
                let payload = choices.bytes(count);
                frame(&mut out, kind, flags, stream, &payload);
            }
            _ => {
                let count = choices.below(32);
                out.extend_from_slice(&choices.bytes(count));
            }
        }
    }
    out
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.put_u32(stream & 0x7fff_ffff);
    out.extend_from_slice(payload);
}

fn settings(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..choices.below(4) {
        payload.put_u16(u16::from(choices.byte() % 8));
        payload.put_u32(u32::from_be_bytes([0, choices.byte(), choices.byte(), choices.byte()]));
    }
    payload
}

/// A header block of plain literals: a call of the router, with something odd in it now and then.
fn request(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut ticket = String::from(["c", "e", "x", ""][choices.below(4)]);
    let _ = write!(ticket, "{}", choices.below(4));
    let path = match choices.below(12) {
        0 => "/",
        1 => "/jumpstarter.v1.RouterService/Other",
        2 => "*",
        _ => "/jumpstarter.v1.RouterService/Stream",
    };
    let authority = ["router", "tmp%2Fsocket", "", "a b"][choices.below(16).min(3)];
    let content_type = if choices.below(12) == 0 { "text/plain" } else { "application/grpc" };
    let bearer = format!("Bearer {ticket}");
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("content-type", content_type),
        ("te", "trailers"),
        ("authorization", bearer.as_str()),
    ];
    match choices.below(20) {
        0 => fields.push(("grpc-encoding", "gzip")),
        1 => fields.push(("grpc-timeout", "1n")),
        2 => fields.push((":path", "/twice")),
        3 => fields.push(("Upper", "case")),
        4 => fields.push(("content-length", "3")),
        5 => fields.truncate(3),
        6 => fields.push(("connection", "close")),
        _ => {}
    }
    let long = "x".repeat(40_000);
    if choices.below(40) == 0 {
        fields.push(("x-long", &long));
    }
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            string_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A length of HPACK (RFC 7541 §5.1, a prefix of seven bits).
fn string_length(block: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).expect("below 127"));
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(u8::try_from(length % 128).expect("below 128") | 128);
        length /= 128;
    }
    block.push(u8::try_from(length).expect("below 128"));
}

/// Messages of gRPC: whole, empty, several, cut short, or none at all.
fn body(choices: &mut Choices<'_>) -> Vec<u8> {
    let count = choices.below(64);
    let payload = choices.bytes(count);
    match choices.below(10) {
        0 => payload,
        1 => Vec::new(),
        2 => grpc(&[0x10, 7]),
        3 => grpc(&payload)[..payload.len() / 2].to_vec(),
        4 => [grpc(&payload), grpc(&[]), grpc(&[0x10, choices.byte()])].concat(),
        5 => vec![0, 0xff, 0xff, 0xff, 0xff],
        6 => vec![1, 0, 0, 0, 1, 0],
        7 => vec![choices.byte(); 16_000],
        _ => grpc(&payload),
    }
}

/// Scans `data` in pieces, which its own bytes choose, as one who copies everything would.
///
/// # Panics
/// When the scanner's account differs.
pub fn scanner(data: &[u8]) {
    const LIMIT: u32 = 100_000;
    let Some((seed, bytes)) = data.split_first() else { return };
    let mut scanner = Scanner::new(LIMIT);
    let (mut at, mut fault) = (0, None);
    while at < bytes.len() && fault.is_none() {
        let count = (usize::from(*seed) + usize::from(bytes[at])) % 97 + 1;
        let piece = &bytes[at..(at + count).min(bytes.len())];
        fault = scanner.scan(piece).err().map(|broken| (at, broken));
        at += piece.len();
    }
    // The one who copies.
    let (mut rest, mut messages, mut wrong) = (bytes, 0, false);
    while let Some((prefix, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        if prefix[0] != 0 || length > LIMIT {
            wrong = true;
            break;
        }
        let Some((_, after)) = after.split_at_checked(length as usize) else { break };
        (rest, messages) = (after, messages + 1);
    }
    // Flags are judged as soon as they are there.
    wrong |= rest.len() < 5 && rest.first().is_some_and(|flags| *flags != 0);
    assert_eq!(fault.is_some(), wrong, "one finds a fault, the other does not");
    match fault {
        None => {
            assert_eq!(scanner.messages(), messages);
            assert_eq!(scanner.at_border(), rest.is_empty());
        }
        Some((start, broken)) => {
            let sound = start + broken.sound;
            let faulty_from = bytes.len() - rest.len();
            assert!(sound <= faulty_from.max(start), "something faulty was taken for sound");
        }
    }
}
