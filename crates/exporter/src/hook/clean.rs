//! Text from programs, made safe to print on somebody's terminal.

/// Where a terminal's escape sequence is left off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// `ESC [ … letter`
    Control,
    /// `ESC ] … BEL`, `ESC P … ESC \` and their like.
    Swallow,
    SwallowEscape,
}

/// Leaves out escape sequences and control characters but tab; with `keep_lines`, line feeds stay too. What a
/// carriage return would have overwritten is left out as well: the last state of a progress bar remains.
pub(crate) fn clean(text: &str, keep_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line = 0;
    let mut overwrite = false;
    let mut state = State::Text;
    for c in text.chars() {
        state = match (state, c) {
            (State::Swallow, '\u{1b}') => State::SwallowEscape,
            (State::Escape, '[') | (State::Text, '\u{9b}') => State::Control,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') | (State::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => {
                State::Swallow
            }
            // Intermediate bytes go on; any other byte ends a short sequence.
            (State::Text | State::Control, '\u{1b}') | (State::Escape, ' '..='/') => State::Escape,
            (State::Escape, _)
            | (State::Control, '\u{40}'..='\u{7e}')
            | (State::Swallow, '\u{7}' | '\u{9c}')
            | (State::SwallowEscape, '\\') => State::Text,
            (State::Swallow | State::SwallowEscape, _) => State::Swallow,
            (State::Control, _) => State::Control,
            (State::Text, '\r') => {
                overwrite = true;
                State::Text
            }
            (State::Text, '\n') if keep_lines => {
                out.push('\n');
                (line, overwrite) = (out.len(), false);
                State::Text
            }
            (State::Text, c) => {
                if c == '\t' || !c.is_control() {
                    if std::mem::take(&mut overwrite) {
                        out.truncate(line);
                    }
                    out.push(c);
                }
                State::Text
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_of_hostile_lines() {
        for (text, expected) in [
            ("plain ünicode\t!", "plain ünicode\t!"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]52;c;ZXZpbA==\u{1b}\\after", "after"),
            ("\u{1b}Pq#0\u{1b}\\x", "x"),
            ("a\u{1b}(Bb\u{1b}=c", "abc"),
            ("10%\r50%\r100%", "100%"),
            ("done\r", "done"),
            ("bell\u{7}\u{8}\0", "bell"),
            ("\u{9b}2Jx\u{9d}0;t\u{9c}y", "xy"),
            ("\u{1b}[31", ""),
            ("a\nb", "ab"),
        ] {
            assert_eq!(clean(text, false), expected, "{text:?}");
        }
        assert_eq!(clean("a\r\nb\n\u{1b}[1mc", true), "a\nb\nc");
    }

    proptest! {
        #[test]
        fn no_control_character_remains(text in any::<String>()) {
            prop_assert!(clean(&text, false).chars().all(|c| c == '\t' || !c.is_control()));
        }
    }
}
