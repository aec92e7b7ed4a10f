//! One file to one peer.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _},
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::DriverLog;

use super::packet::{Answer, DEFAULT_BLOCK, DEFAULT_TIMEOUT, NOT_FOUND, Refusal, Request, TRAVERSAL, data, error};

/// How often a datagram is sent before the peer is given up.
const ATTEMPTS: u32 = 3;
/// Longest name that a file system takes.
const MAX_NAME: usize = 255;
/// Characters that lead out of the flat directory, here or on other systems.
const FORBIDDEN: [char; 9] = ['/', '\\', ':', '*', '?', '"', '<', '>', '|'];

/// A peer that asked for something.
pub(super) struct Transfer {
    pub(super) root: Arc<Path>,
    /// Where the answer comes from; the port is a new one (RFC 1350 §4).
    pub(super) local: IpAddr,
    pub(super) peer: SocketAddr,
    pub(super) log: DriverLog,
}

impl Transfer {
    /// Answers the peer's first datagram.
    pub(super) async fn answer(self, packet: Vec<u8>) {
        let peer = self.peer;
        let outcome = async {
            let socket = UdpSocket::bind((self.local, 0)).await?;
            // Others' datagrams do not reach a connected socket.
            socket.connect(peer).await?;
            match Request::parse(&packet) {
                Ok(None) => Ok(()),
                Ok(Some(request)) => self.send(&socket, &request).await,
                Err(refusal) => self.refuse(&socket, &refusal, "request").await,
            }
        };
        if let Err(err) = outcome.await {
            self.log.warning(&format!("TFTP transfer to {peer}: {err}"));
        }
    }

    async fn refuse(&self, socket: &UdpSocket, refusal: &Refusal, what: &str) -> io::Result<()> {
        self.log.info(&format!("TFTP {what} of {} refused: {}", self.peer, refusal.1));
        socket.send(&error(refusal)).await.map(drop)
    }

    async fn send(&self, socket: &UdpSocket, request: &Request) -> io::Result<()> {
        let name = request.file.as_str();
        let shown = format!("for '{}'", name.escape_debug());
        if name.len() > MAX_NAME || name.contains(FORBIDDEN) || [".", ".."].contains(&name) {
            return self.refuse(socket, &TRAVERSAL, &shown).await;
        }
        let path = self.root.join(name);
        let Some((mut file, size)) = open(&path).await else {
            return self.refuse(socket, &NOT_FOUND, &shown).await;
        };
        self.log.info(&format!("TFTP sends '{}' ({size} bytes) to {}", name.escape_debug(), self.peer));
        let wait = request.timeout.unwrap_or(DEFAULT_TIMEOUT);
        if let Some(options) = request.accept(size) {
            exchange(socket, &options, 0, wait).await?;
        }
        let block_size = request.block.unwrap_or(DEFAULT_BLOCK);
        let mut block = 1_u16;
        loop {
            let bytes = read_block(&mut file, block_size).await?;
            exchange(socket, &data(block, &bytes), block, wait).await?;
            if bytes.len() < block_size {
                return Ok(());
            }
            // Files of more than 65535 blocks start over, as boot loaders expect.
            block = block.wrapping_add(1);
        }
    }
}

/// A regular file and its size.
async fn open(path: &Path) -> Option<(File, u64)> {
    let file = File::open(path).await.ok()?;
    let metadata = file.metadata().await.ok()?;
    metadata.is_file().then_some((file, metadata.len()))
}

/// The next block; shorter only at the end.
async fn read_block(file: &mut (impl AsyncRead + Unpin), size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let wanted = (size - bytes.len()) as u64;
        if (&mut *file).take(wanted).read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// Sends `packet` until the peer acknowledges `block`.
async fn exchange(socket: &UdpSocket, packet: &[u8], block: u16, wait: Duration) -> io::Result<()> {
    let mut buffer = [0; 1500];
    for _ in 0..ATTEMPTS {
        socket.send(packet).await?;
        let deadline = Instant::now() + wait;
        // An acknowledgement of an earlier block is a late one: answering it would double everything that follows.
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await {
            match Answer::parse(&buffer[..received?]) {
                Answer::Ack(acked) if acked == block => return Ok(()),
                Answer::Error(text) => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)),
                Answer::Ack(_) | Answer::Strange => {}
            }
        }
    }
    let text = format!("block {block} was not acknowledged after {ATTEMPTS} attempts");
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}
