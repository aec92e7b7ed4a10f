//! Lines out of a stream of bytes, in bounded memory whatever is written.
use std::fmt::Write as _;

use super::clean;

/// Longest line that is kept: clients read messages of up to 4 MiB, people far less.
const MAX_LINE: usize = 16 * 1024;

/// Cuts bytes into lines.
#[derive(Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// Bytes of this line that were left out.
    dropped: u64,
}

impl Lines {
    /// Takes bytes and passes on every line that they complete; empty ones are left out.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end]);
            self.finish(out);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Passes on what stands without a line feed at the end.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        let dropped = std::mem::take(&mut self.dropped);
        let mut text = clean(&String::from_utf8_lossy(&line), false);
        text.truncate(text.trim_end().len());
        if dropped > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "… ({dropped} more bytes on this line)");
        }
        if !text.is_empty() {
            out(&text);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = bytes.len().min(MAX_LINE - self.line.len());
        self.line.extend_from_slice(&bytes[..room]);
        self.dropped += (bytes.len() - room) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, &mut |line| out.push(line.to_owned()));
        }
        lines.finish(&mut |line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(lines(&[b"one\r\ntw", b"o\n", b"\n  \n", b"three"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b"bad \xff byte\n"]), ["bad \u{fffd} byte"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn an_endless_line_costs_no_memory() {
        let (mut taken, mut longest) = (Lines::default(), 0);
        for _ in 0..1600 {
            taken.push(&vec![b'x'; 65536], &mut |_| panic!("no line yet"));
            longest = longest.max(taken.line.capacity());
        }
        assert!(longest <= 2 * MAX_LINE);
        let mut out = Vec::new();
        taken.push(b"\nnext\n", &mut |line| out.push(line.to_owned()));
        assert_eq!(out.len(), 2);
        assert!(out[0].ends_with("… (104841216 more bytes on this line)"), "{}", &out[0][out[0].len() - 50..]);
        assert_eq!(out[1], "next");
    }
}
