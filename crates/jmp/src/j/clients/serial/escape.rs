//! The keys that leave a console: Ctrl-B three times in a row. The first two are sent like all others.

const KEY: u8 = 0x02;
const TIMES: u8 = 3;

/// How many of the keys have come.
#[derive(Debug, Default)]
pub(super) struct Escape(u8);

impl Escape {
    /// Takes what was typed: how much of it is to be sent, and whether that was the end.
    pub(super) fn take(&mut self, typed: &[u8]) -> (usize, bool) {
        for (index, byte) in typed.iter().enumerate() {
            self.0 = if *byte == KEY { self.0 + 1 } else { 0 };
            if self.0 == TIMES {
                return (index, true);
            }
        }
        (typed.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row() {
        let mut escape = Escape::default();
        for (typed, expected) in [
            (&b"ls\n"[..], (3, false)),
            (b"\x02\x02", (2, false)),
            (b"x", (1, false)),
            (b"\x02a\x02\x02", (4, false)),
            (b"\x02ignored", (0, true)),
        ] {
            assert_eq!(escape.take(typed), expected, "{typed:?}");
        }
    }
}
