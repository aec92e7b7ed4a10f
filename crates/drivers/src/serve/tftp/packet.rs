//! Datagrams of TFTP (RFC 1350) with options (RFC 2347, 2348, 2349).
use std::time::Duration;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Block size without an option.
pub(super) const DEFAULT_BLOCK: usize = 512;
/// Time to wait for an acknowledgement without an option.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request is refused: the error code of the protocol and a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str);

pub(super) const NOT_FOUND: Refusal = Refusal(1, "File not found");
pub(super) const TRAVERSAL: Refusal = Refusal(2, "Access violation: only plain file names are served");
const MALFORMED: Refusal = Refusal(4, "Malformed packet");
const UNKNOWN: Refusal = Refusal(4, "Unknown opcode");
const READ_ONLY: Refusal = Refusal(4, "This server is read-only");
const MODE: Refusal = Refusal(4, "Unsupported transfer mode");

/// A request for a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) file: String,
    /// None where the default holds.
    pub(super) block: Option<usize>,
    pub(super) timeout: Option<Duration>,
    /// The size of the file is asked for.
    pub(super) size: bool,
}

impl Request {
    /// Reads the first datagram of a peer. None when it needs no answer.
    pub(super) fn parse(packet: &[u8]) -> Result<Option<Self>, Refusal> {
        let (opcode, rest) = packet.split_first_chunk::<2>().ok_or(MALFORMED)?;
        match u16::from_be_bytes(*opcode) {
            READ => {}
            WRITE => return Err(READ_ONLY),
            // Late acknowledgements of a transfer that is over.
            DATA | ACK | ERROR | OACK => return Ok(None),
            _ => return Err(UNKNOWN),
        }
        let text = rest.strip_suffix(&[0]).ok_or(MALFORMED)?;
        let text = std::str::from_utf8(text).map_err(|_| MALFORMED)?;
        let mut words = text.split('\0');
        let file = words.next().filter(|file| !file.is_empty()).ok_or(MALFORMED)?.to_owned();
        let mode = words.next().ok_or(MALFORMED)?;
        if !["octet", "netascii"].iter().any(|known| mode.eq_ignore_ascii_case(known)) {
            return Err(MODE);
        }
        let mut request = Self { file, block: None, timeout: None, size: false };
        while let (Some(option), Some(value)) = (words.next(), words.next()) {
            // An option that is unknown or out of range is left out of the answer, which refuses it.
            match option.to_ascii_lowercase().as_str() {
                "blksize" => request.block = value.parse().ok().filter(|size| (512..=65464).contains(size)),
                "timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| (1..=255).contains(seconds));
                    request.timeout = seconds.map(Duration::from_secs);
                }
                "tsize" => request.size = true,
                _ => {}
            }
        }
        Ok(Some(request))
    }

    /// The accepted options; none when there are none.
    pub(super) fn accept(&self, size: u64) -> Option<Vec<u8>> {
        let mut packet = OACK.to_be_bytes().to_vec();
        let mut add = |option: &str, value: u64| {
            packet.extend_from_slice(format!("{option}\0{value}\0").as_bytes());
        };
        if let Some(block) = self.block {
            add("blksize", block as u64);
        }
        if let Some(timeout) = self.timeout {
            add("timeout", timeout.as_secs());
        }
        if self.size {
            add("tsize", size);
        }
        (packet.len() > 2).then_some(packet)
    }
}

/// What a peer says during a transfer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ack(u16),
    /// It gave up, for this reason.
    Error(String),
    Strange,
}

impl Answer {
    pub(super) fn parse(packet: &[u8]) -> Self {
        match packet {
            [0, 4, high, low, ..] => Self::Ack(u16::from_be_bytes([*high, *low])),
            [0, 5, _, code, text @ ..] => {
                let text = String::from_utf8_lossy(text).trim_end_matches('\0').escape_debug().to_string();
                Self::Error(format!("error {code}: {text}"))
            }
            _ => Self::Strange,
        }
    }
}

pub(super) fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    [&DATA.to_be_bytes(), &block.to_be_bytes(), bytes].concat()
}

pub(super) fn error(Refusal(code, text): &Refusal) -> Vec<u8> {
    [&ERROR.to_be_bytes(), &code.to_be_bytes(), text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        let plain = |file: &str| Request { file: file.to_owned(), block: None, timeout: None, size: false };
        for (packet, wanted) in [
            (&b"\0\x01boot.img\0octet\0"[..], Ok(Some(plain("boot.img")))),
            (b"\0\x01a\0NetASCII\0", Ok(Some(plain("a")))),
            (
                b"\0\x01a\0octet\0BLKSIZE\x001468\0timeout\x003\0tsize\x000\0windowsize\x008\0",
                Ok(Some(Request {
                    block: Some(1468),
                    timeout: Some(Duration::from_secs(3)),
                    size: true,
                    ..plain("a")
                })),
            ),
            (b"\0\x01a\0octet\0blksize\x008\0timeout\x00x\0", Ok(Some(plain("a")))),
            (b"\0\x01a\0mail\0", Err(MODE)),
            (b"\0\x02a\0octet\0", Err(READ_ONLY)),
            (b"\0\x04\0\x01", Ok(None)),
            (b"\0\x09", Err(UNKNOWN)),
            (b"\0\x01a\0octet", Err(MALFORMED)),
            (b"\0\x01\0octet\0", Err(MALFORMED)),
            (b"\0\x01\xff\0octet\0", Err(MALFORMED)),
            (b"\0\x01a\0", Err(MALFORMED)),
            (b"\0", Err(MALFORMED)),
        ] {
            assert_eq!(Request::parse(packet), wanted, "{packet:?}");
        }
        let accepted = Request { block: Some(1024), timeout: None, size: true, ..plain("a") }.accept(77);
        assert_eq!(accepted.as_deref(), Some(&b"\0\x06blksize\x001024\0tsize\x0077\0"[..]));
        assert_eq!(plain("a").accept(1), None);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Request::parse(&packet);
            let _ = Answer::parse(&packet);
        }
    }
}
