//! A connection through a simulated network, for machines that let nobody harm a real one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::choices::Choices;

/// How good the network is. TCP hides loss and disorder: what is left of them are pauses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quality {
    /// Of every byte, one way.
    pub(crate) delay: Duration,
    /// Up to this much more.
    pub(crate) jitter: Duration,
    /// One in so many packets is lost, and everything behind it waits for the second try; 0 for none.
    pub(crate) one_lost_in: u64,
}

/// The time to the second try, as Linux has it at least.
const RETRY: Duration = Duration::from_millis(200);
/// What TCP sends at once, at most.
const PACKET: usize = 16 * 1024;
/// Packets on their way in one direction.
const FLIGHT: usize = 64;

/// Passes one connection on to the router.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    dead: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Wire {
    pub(crate) async fn to(router: SocketAddr, quality: Quality) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dead = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let broken = Arc::clone(&dead);
        tasks.spawn(async move {
            let (peer, _) = listener.accept().await.unwrap();
            let router = TcpStream::connect(router).await.unwrap();
            for socket in [&peer, &router] {
                socket.set_nodelay(true).unwrap();
            }
            let (peer_read, peer_write) = peer.into_split();
            let (router_read, router_write) = router.into_split();
            tokio::join!(
                carry(peer_read, router_write, quality, Choices(1), &broken),
                carry(router_read, peer_write, quality, Choices(2), &broken),
            );
        });
        Self { address, dead, _tasks: tasks }
    }

    /// From now on nothing passes, and nothing is closed: one side has vanished.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }
}

/// One direction.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    quality: Quality,
    mut choices: Choices,
    dead: &AtomicBool,
) {
    let (packets, mut flight) = mpsc::channel::<(Instant, Vec<u8>)>(FLIGHT);
    let send = async move {
        let mut arrival = Instant::now();
        loop {
            let mut packet = vec![0; PACKET];
            let count = from.read(&mut packet).await.unwrap_or(0);
            packet.truncate(count);
            let lost = quality.one_lost_in > 0 && choices.below(quality.one_lost_in) == 0;
            let jitter = choices.below(u64::try_from(quality.jitter.as_micros()).unwrap() + 1);
            let late = quality.delay + Duration::from_micros(jitter) + if lost { RETRY } else { Duration::ZERO };
            // Never before what was sent before.
            arrival = arrival.max(Instant::now() + late);
            if packets.send((arrival, packet)).await.is_err() || count == 0 {
                return;
            }
        }
    };
    let deliver = async move {
        while let Some((at, packet)) = flight.recv().await {
            tokio::time::sleep_until(at).await;
            if dead.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let passed = if packet.is_empty() { to.shutdown().await } else { to.write_all(&packet).await };
            if passed.is_err() {
                return;
            }
        }
    };
    tokio::join!(send, deliver);
}
