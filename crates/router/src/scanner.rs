//! Keeps sight of message borders in a stream of gRPC bytes, without copying or decoding them.

use jumpstarter_protocol::v1::{FrameType, StreamRequest};
use prost::Message as _;

/// Length of the prefix before each message: one byte of flags, four of length.
const PREFIX: usize = 5;

/// Messages up to this length are looked at for being a GOAWAY, which takes two bytes.
const SMALL: usize = 16;

/// A whole GOAWAY message with its prefix, as a request or a response: both have the same form.
pub(crate) const GOAWAY: &[u8] = &[0, 0, 0, 0, 2, 0x10, FrameType::Goaway as u8];

/// What makes bytes no sequence of plain gRPC messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Flags other than nought, in a stream that declared no compression.
    #[error("a message has flags {0:#04x}: plain messages have none")]
    Flags(u8),
    /// A message beyond the limit.
    #[error("a message of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Its length as its prefix says.
        length: u32,
        /// The limit.
        limit: u32,
    },
}

/// A chunk that holds a faulty prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// How much of the chunk precedes the faulty message. Nought as well when its prefix began in
    /// an earlier chunk; then the scanner is not [`Scanner::at_border`].
    pub sound: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// The state between two chunks.
#[derive(Debug, Clone)]
pub struct Scanner {
    limit: u32,
    prefix: [u8; PREFIX],
    prefix_len: usize,
    /// Bytes of the current message that are still to come.
    remaining: usize,
    /// The current message, while it is small.
    small: [u8; SMALL],
    small_len: usize,
    is_small: bool,
    messages: u64,
    goaway: bool,
}

impl Scanner {
    /// At the start of a stream whose messages have up to `limit` bytes.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            prefix: [0; PREFIX],
            prefix_len: 0,
            remaining: 0,
            small: [0; SMALL],
            small_len: 0,
            is_small: false,
            messages: 0,
            goaway: false,
        }
    }

    /// Follows the next bytes.
    ///
    /// # Errors
    /// [`Broken`] at the first faulty prefix; nothing may be scanned afterwards.
    pub fn scan(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        let mut rest = chunk;
        // How much of the chunk is before the message that is being read.
        let mut border = 0;
        while !rest.is_empty() {
            if self.remaining > 0 {
                let (body, after) = rest.split_at(self.remaining.min(rest.len()));
                self.take_body(body);
                rest = after;
            } else {
                if self.prefix_len == 0 {
                    border = chunk.len() - rest.len();
                }
                rest = self.take_prefix(rest).map_err(|(fault, held)| {
                    // Bytes of the prefix that came in an earlier chunk are with the receiver already.
                    let began_here = held == 0;
                    self.prefix_len = if began_here { 0 } else { held };
                    Broken { sound: border, fault }
                })?;
            }
        }
        Ok(())
    }

    /// Reads as much of a prefix as there is. An error comes with how many bytes of the prefix were
    /// there before `bytes`.
    fn take_prefix<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], (Fault, usize)> {
        let held = self.prefix_len;
        let (part, rest) = bytes.split_at((PREFIX - held).min(bytes.len()));
        self.prefix[held..held + part.len()].copy_from_slice(part);
        self.prefix_len = held + part.len();
        let [flags, a, b, c, d] = self.prefix;
        if flags != 0 {
            return Err((Fault::Flags(flags), held));
        }
        if self.prefix_len < PREFIX {
            return Ok(rest);
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        if length > self.limit {
            return Err((Fault::TooLong { length, limit: self.limit }, held));
        }
        self.prefix_len = 0;
        self.remaining = length as usize;
        self.is_small = self.remaining <= SMALL;
        self.small_len = 0;
        if self.remaining == 0 {
            self.end_message();
        }
        Ok(rest)
    }

    fn take_body(&mut self, body: &[u8]) {
        if self.is_small {
            self.small[self.small_len..self.small_len + body.len()].copy_from_slice(body);
            self.small_len += body.len();
        }
        self.remaining -= body.len();
        if self.remaining == 0 {
            self.end_message();
        }
    }

    fn end_message(&mut self) {
        self.messages += 1;
        self.goaway = self.is_small && is_goaway(&self.small[..self.small_len]);
    }

    /// Whether the bytes so far are whole messages.
    #[must_use]
    pub fn at_border(&self) -> bool {
        self.prefix_len == 0 && self.remaining == 0
    }

    /// Whether the last whole message was a GOAWAY.
    #[must_use]
    pub fn saw_goaway(&self) -> bool {
        self.goaway
    }

    /// Whole messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }
}

fn is_goaway(message: &[u8]) -> bool {
    // The value of the frame type is there as a byte of its own; most small messages lack it.
    message.contains(&(FrameType::Goaway as u8))
        && StreamRequest::decode(message).is_ok_and(|frame| frame.frame_type == FrameType::Goaway as i32)
}

#[cfg(test)]
mod tests;
