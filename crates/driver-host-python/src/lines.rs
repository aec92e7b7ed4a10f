//! Lines of a process that may write anything.
use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// The next line without its end, as far as `max` bytes of it: what is longer is read and forgotten. None at the end.
pub(crate) async fn next(source: &mut (impl AsyncBufRead + Unpin), max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut begun = false;
    loop {
        let chunk = source.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(begun.then_some(line));
        }
        begun = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&text[..text.len().min(max - line.len())]);
        let taken = end.map_or(chunk.len(), |end| end + 1);
        source.consume(taken);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_lines_are_cut_and_the_next_is_whole() {
        let text = [b"one\n\n", &*vec![b'x'; 100_000], b"\ntwo\nend"].concat();
        let mut source = tokio::io::BufReader::with_capacity(7, text.as_slice());
        let mut lines = Vec::new();
        while let Some(line) = next(&mut source, 10).await.unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "", "xxxxxxxxxx", "two", "end"]);
    }
}
