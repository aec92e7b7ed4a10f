//! A long fat link: a proxy that delays and limits, in front of a router under test.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::Effort;
use crate::link::{Link, Shape, message};
use crate::subject::{Kind, Subject};
use crate::table::{Row, Table};

/// A link between a peer and a router.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Both ways together.
    pub round_trip: Duration,
    pub bytes_per_second: f64,
}

/// What the proxy's socket holds beyond the link itself.
const SOCKET: u32 = 128 * 1024;

/// Bytes that are passed on at once.
const PIECE: usize = 32 * 1024;

/// Opens the line to `router`; it closes when the tasks are dropped.
pub fn open(line: Line, router: SocketAddr, tasks: &mut JoinSet<()>) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SOCKET).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener: TcpListener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut ways = JoinSet::new();
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(SOCKET).unwrap();
            let far = socket.connect(router).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            ways.spawn(carry(line, near_in, far_out));
            ways.spawn(carry(line, far_in, near_out));
        }
    });
    address
}

/// One way: takes no more than the link carries, delivers each piece when its time has come.
async fn carry(line: Line, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut under_way: VecDeque<(Instant, Bytes)> = VecDeque::new();
    // When the link is free for the next piece.
    let mut free = Instant::now();
    let mut open = true;
    let mut buffer = BytesMut::with_capacity(PIECE);
    while open || !under_way.is_empty() {
        buffer.reserve(PIECE);
        let due = under_way.front().map_or_else(|| Instant::now() + Duration::from_hours(1), |(due, _)| *due);
        let may_read = open && free <= Instant::now() + Duration::from_micros(200);
        let wake = if may_read || !open { due } else { due.min(free) };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(wake.into()) => {
                while under_way.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                    let (_, piece) = under_way.pop_front().expect("just seen");
                    if to.write_all(&piece).await.is_err() {
                        return;
                    }
                }
            }
            read = from.read_buf(&mut buffer), if may_read => match read {
                Ok(length) if length > 0 => {
                    let now = Instant::now();
                    // What timers are late by may be caught up with, but no more.
                    let start = free.max(now.checked_sub(Duration::from_millis(3)).unwrap_or(now));
                    free = start + Duration::from_secs_f64(length as f64 / line.bytes_per_second);
                    under_way.push_back((now.max(free) + line.round_trip / 2, buffer.split().freeze()));
                }
                _ => open = false,
            }
        }
    }
    drop(to.shutdown().await);
}

pub(crate) async fn long_link(effort: &Effort, table: &mut Table) {
    let line = Line { round_trip: Duration::from_millis(20), bytes_per_second: 125e6 };
    let kinds = Kind::present(&[Kind::Decoding, Kind::Router, Kind::Peer]);
    for (name, source_is_far) in [("to the router", true), ("from the router", false)] {
        let mut values = Vec::new();
        for kind in &kinds {
            let share = through(&Subject::start(*kind), line, source_is_far, effort.span * 2).await;
            values.push((*kind, share * 100.0));
        }
        let what = format!("one stream, 1 Gbit/s and 20 ms {name}");
        table.add(Row { what, unit: "% of link", values, aim: "fills" });
    }
}

/// The share of the line that one stream fills.
async fn through(subject: &Subject, line: Line, source_is_far: bool, span: Duration) -> f64 {
    let mut tasks = JoinSet::new();
    let far = open(line, subject.address, &mut tasks);
    let shape = Shape::with_frame(jumpstarter_transport::MAX_FRAME_SIZE);
    let (to_source, to_sink) = if source_is_far { (far, subject.address) } else { (subject.address, far) };
    let (source, sink) = (Link::connect(to_source, shape).await, Link::connect(to_sink, shape).await);
    let tickets = subject.tickets();
    let (mut writing, mut reading) = (source.open(&tickets[0]).await, sink.open(&tickets[1]).await);
    let frame = message(65_536);
    tasks.spawn(async move {
        loop {
            for piece in [0..16_384, 16_384..32_768, 32_768..49_152, 49_152..65_536] {
                writing.writer.send(frame.slice(piece)).await;
            }
        }
    });
    let mut bytes = 0_usize;
    let warm = Instant::now() + Duration::from_secs(1);
    while Instant::now() < warm {
        reading.reader.chunk().await;
    }
    let started = Instant::now();
    while started.elapsed() < span {
        bytes += reading.reader.chunk().await.len();
    }
    bytes as f64 / started.elapsed().as_secs_f64() / line.bytes_per_second
}
