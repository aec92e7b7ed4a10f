//! The messages of `RouterService.Stream` as bytes, so that payloads are neither encoded nor decoded by copying.
//!
//! A message is gRPC's five-byte prefix and a protobuf message of two fields: 1, the payload, and 2, the frame type,
//! which is left out for DATA.
use std::{fmt, io};

use bytes::{Buf as _, Bytes, BytesMut};
use jumpstarter_protocol::v1::{FrameType, StreamRequest};
use prost::Message as _;

/// Largest payload of one DATA message that we send. With its header, one message fits into one HTTP/2 frame of 64 KiB.
pub const MAX_CHUNK: usize = 64 * 1024 - HEADROOM;
/// Room for the longest header: prefix, tag and a length of five bytes.
const HEADROOM: usize = 16;
/// gRPC's prefix: a byte for compression, four for the length.
const PREFIX: usize = 5;
/// Field 1, length-delimited.
const PAYLOAD_TAG: u8 = 0x0a;
/// A message that is more than a payload must fit into this.
const MAX_WHOLE: usize = 4 * 1024 * 1024;

/// Says that no more bytes follow in this direction.
pub(crate) const GOAWAY: &[u8] = &[0, 0, 0, 0, 2, 0x10, FrameType::Goaway as u8];

/// A DATA message in the making: room for the header is kept in front of the payload.
#[derive(Clone)]
pub struct DataMessage(Vec<u8>);

impl DataMessage {
    /// An empty payload with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADROOM + capacity);
        bytes.resize(HEADROOM, 0);
        Self(bytes)
    }

    /// Where the payload is appended; what is there already must stay.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The payload so far.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.get(HEADROOM..).unwrap_or_default()
    }

    /// The message as it travels.
    #[must_use]
    pub(crate) fn into_wire(mut self) -> Bytes {
        let length = self.payload().len();
        let mut header = [0; HEADROOM];
        header[PREFIX] = PAYLOAD_TAG;
        let mut end = PREFIX + 1;
        let mut rest = length;
        while rest >= 0x80 {
            header[end] = rest.to_le_bytes()[0] | 0x80;
            rest >>= 7;
            end += 1;
        }
        header[end] = rest.to_le_bytes()[0];
        end += 1;
        let message = u32::try_from(end - PREFIX + length).unwrap_or(u32::MAX);
        header[1..PREFIX].copy_from_slice(&message.to_be_bytes());
        let start = HEADROOM - end;
        self.0[start..HEADROOM].copy_from_slice(&header[..end]);
        let mut wire = Bytes::from(self.0);
        wire.advance(start);
        wire
    }
}

impl From<&[u8]> for DataMessage {
    fn from(payload: &[u8]) -> Self {
        let mut message = Self::with_capacity(payload.len());
        message.0.extend_from_slice(payload);
        message
    }
}

impl fmt::Debug for DataMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataMessage({} bytes)", self.payload().len())
    }
}

/// What a peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Payload of DATA, maybe a part of it.
    Data(Bytes),
    /// The peer's direction has ended.
    Goaway,
}

/// Finds payloads in a stream of bytes that may be cut anywhere. Payloads are slices of what was put in.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    input: Bytes,
    state: State,
    /// Payloads are handed out whole, as they were sent, at the price of gathering those that come in parts.
    pub(crate) keep_borders: bool,
}

#[derive(Debug)]
enum State {
    /// In front of a payload: the bytes of prefix, tag and length so far.
    Header { bytes: [u8; HEADROOM], have: usize },
    /// In a payload that fills its message; `begun` is only used to keep borders.
    Payload { left: usize, begun: BytesMut },
    /// In a message that is kept until it is whole, since it is not just a payload.
    Whole { left: usize, message: Vec<u8> },
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; HEADROOM], have: 0 }
    }
}

impl Scanner {
    /// Takes more bytes; all pieces of those before must have been taken.
    pub(crate) fn put(&mut self, input: Bytes) {
        debug_assert!(self.input.is_empty(), "pieces are taken before more is put in");
        self.input = input;
    }

    /// The next piece, or none when more bytes are needed. Empty payloads, PING and unknown frames are no pieces.
    pub(crate) fn next(&mut self) -> io::Result<Option<Piece>> {
        while !self.input.is_empty() {
            match &mut self.state {
                State::Header { bytes, have } => {
                    bytes[*have] = self.input.get_u8();
                    *have += 1;
                    if let Some(next) = after_header(&bytes[..*have])? {
                        self.state = next;
                    }
                }
                State::Payload { left, begun } => {
                    let mut part = self.input.split_to(self.input.len().min(*left));
                    *left -= part.len();
                    let done = *left == 0;
                    if self.keep_borders && !(done && begun.is_empty()) {
                        if begun.len() + part.len() + *left > MAX_WHOLE {
                            return Err(invalid(&format!("a payload of more than {MAX_WHOLE} bytes")));
                        }
                        begun.extend_from_slice(&part);
                        if !done {
                            continue;
                        }
                        part = std::mem::take(begun).freeze();
                    }
                    if done {
                        self.state = State::default();
                    }
                    return Ok(Some(Piece::Data(part)));
                }
                State::Whole { left, message } => {
                    let part = self.input.split_to(self.input.len().min(*left));
                    *left -= part.len();
                    message.extend_from_slice(&part);
                    if *left > 0 {
                        continue;
                    }
                    let whole = StreamRequest::decode(message.as_slice())
                        .map_err(|err| invalid(&format!("a message that cannot be decoded: {err}")))?;
                    self.state = State::default();
                    match FrameType::try_from(whole.frame_type) {
                        Ok(FrameType::Data) if !whole.payload.is_empty() => {
                            return Ok(Some(Piece::Data(whole.payload)));
                        }
                        Ok(FrameType::Goaway) => return Ok(Some(Piece::Goaway)),
                        Ok(FrameType::Data | FrameType::Ping | FrameType::RstStream) | Err(_) => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the stream may end here: between two messages.
    pub(crate) fn at_border(&self) -> bool {
        self.input.is_empty() && matches!(self.state, State::Header { have: 0, .. })
    }
}

/// What follows the header bytes so far; none when there must be more of them.
fn after_header(bytes: &[u8]) -> io::Result<Option<State>> {
    let Some((prefix, field)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [compressed, length @ ..] = prefix;
    if *compressed != 0 {
        return Err(invalid("a compressed message, which was not agreed on"));
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(Some(State::default()));
    }
    let whole = || {
        if length > MAX_WHOLE {
            return Err(invalid(&format!("a message of {length} bytes, more than {MAX_WHOLE}")));
        }
        Ok(Some(State::Whole { left: length - field.len(), message: field.to_vec() }))
    };
    let Some((&tag, varint)) = field.split_first() else { return Ok(None) };
    if tag != PAYLOAD_TAG {
        return whole();
    }
    let Some(end) = varint.iter().position(|byte| byte & 0x80 == 0) else {
        // Five bytes hold any length that a message can have; a message that is over is none of ours.
        return if varint.len() < 5 && field.len() < length { Ok(None) } else { whole_or_broken(field, length, whole) };
    };
    let payload = varint[..=end].iter().rev().fold(0_u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    if payload == (length - field.len()) as u64 {
        return Ok(Some(if payload == 0 {
            State::default()
        } else {
            State::Payload { left: length - field.len(), begun: BytesMut::new() }
        }));
    }
    whole()
}

fn whole_or_broken(
    field: &[u8],
    length: usize,
    whole: impl FnOnce() -> io::Result<Option<State>>,
) -> io::Result<Option<State>> {
    if field.len() >= length { Err(invalid("a message that ends within its header")) } else { whole() }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the other side sent {text}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As other peers' libraries encode it.
    fn encoded(frame_type: i32, payload: &[u8]) -> Vec<u8> {
        let message = StreamRequest { payload: Bytes::copy_from_slice(payload), frame_type }.encode_to_vec();
        let mut wire = vec![0];
        wire.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        wire.extend_from_slice(&message);
        wire
    }

    fn scan(wire: &[u8], cuts: &[usize]) -> io::Result<(Vec<u8>, usize, bool)> {
        let mut scanner = Scanner::default();
        let (mut data, mut goaways) = (Vec::new(), 0);
        let mut rest = wire;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(*cuts.next().unwrap_or(&usize::MAX)));
            rest = after;
            scanner.put(Bytes::copy_from_slice(part));
            while let Some(piece) = scanner.next()? {
                match piece {
                    Piece::Data(part) => data.extend_from_slice(&part),
                    Piece::Goaway => goaways += 1,
                }
            }
        }
        Ok((data, goaways, scanner.at_border()))
    }

    #[test]
    fn messages_are_those_of_protobuf() {
        for length in [1, 2, 127, 128, 16_383, 16_384, MAX_CHUNK, 3_000_000] {
            let payload: Vec<u8> = (0..length).map(|n: usize| n.to_le_bytes()[0]).collect();
            let wire = DataMessage::from(payload.as_slice()).into_wire();
            assert_eq!(wire, encoded(0, &payload), "{length}");
            assert!(length > MAX_CHUNK || wire.len() <= 64 * 1024);
        }
        assert_eq!(GOAWAY, encoded(FrameType::Goaway.into(), b""));
    }

    #[test]
    fn what_is_no_payload_is_no_piece() {
        let wire = [
            encoded(0, b"one "),
            encoded(0, b""),
            encoded(FrameType::Ping.into(), b"ignored"),
            encoded(FrameType::RstStream.into(), b"ignored"),
            encoded(99, &[7; 1000]),
            // The fields the other way round, an unknown field, and a length longer than needed.
            vec![0, 0, 0, 0, 5, 0x10, 0, 0x0a, 1, b't'],
            vec![0, 0, 0, 0, 5, 0x0a, 1, b'w', 0x18, 9],
            vec![0, 0, 0, 0, 4, 0x0a, 0x81, 0x00, b'o'],
            GOAWAY.to_vec(),
        ]
        .concat();
        for cut in [1, 2, 3, 7, 1 << 20] {
            assert_eq!(scan(&wire, &[cut]).unwrap(), (b"one two".to_vec(), 1, true), "cut {cut}");
        }
    }

    #[test]
    fn bad_messages_are_refused() {
        for wire in [
            vec![1, 0, 0, 0, 3, 0x0a, 1, b'x'],
            vec![0, 0, 0, 0, 3, 0x0a, 9, b'x'],
            vec![0, 0, 0, 0, 2, 0x0a, 0x80],
            vec![0, 0xff, 0xff, 0xff, 0xff, 0x10, 7],
            vec![0, 0, 0, 0, 8, 0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
        ] {
            assert!(scan(&wire, &[1]).is_err(), "{wire:?}");
            assert!(scan(&wire, &[100]).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn an_end_within_a_message_is_seen() {
        let wire = [encoded(0, b"hello"), encoded(FrameType::Goaway.into(), b"")].concat();
        for end in 0..wire.len() {
            let border = end == 0 || end == 12;
            assert_eq!(scan(&wire[..end], &[3]).unwrap().2, border, "{end}");
        }
    }

    #[test]
    fn borders_are_kept_when_asked_for() {
        let wire = [encoded(0, b"one"), encoded(0, &[7; 200]), encoded(0, b"three")].concat();
        for cut in [1, 4, 150, 1000] {
            let mut scanner = Scanner { keep_borders: true, ..Scanner::default() };
            let mut lengths = Vec::new();
            for part in wire.chunks(cut) {
                scanner.put(Bytes::copy_from_slice(part));
                while let Some(piece) = scanner.next().unwrap() {
                    let Piece::Data(payload) = piece else { panic!("no end was sent") };
                    lengths.push(payload.len());
                }
            }
            assert_eq!(lengths, [3, 200, 5], "cut {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_bytes(
            payloads in proptest::collection::vec((0..3_i32, proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            cuts in proptest::collection::vec(1..400_usize, 1..10),
        ) {
            let mut wire = Vec::new();
            let mut plain = Vec::new();
            for (kind, payload) in &payloads {
                // DATA as we and as others write it, and a frame that nobody reads.
                match kind {
                    0 => wire.extend_from_slice(&DataMessage::from(payload.as_slice()).into_wire()),
                    1 => wire.extend(encoded(0, payload)),
                    _ => wire.extend(encoded(6, payload)),
                }
                if *kind < 2 {
                    plain.extend_from_slice(payload);
                }
            }
            prop_assert_eq!(scan(&wire, &cuts).unwrap(), (plain, 0, true));
        }

        #[test]
        fn garbage_never_panics(wire in proptest::collection::vec(any::<u8>(), 0..400), cut in 1..50_usize) {
            let _ = scan(&wire, &[cut]);
        }
    }
}
