//! Text from elsewhere, before it reaches a terminal.

/// The text without anything that would move the cursor or change the terminal: colours are dropped, other control
/// characters replaced.
pub(crate) fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' if letters.peek() == Some(&'[') => {
                letters.next();
                let parameters: String =
                    std::iter::from_fn(|| letters.next_if(|c| matches!(c, '0'..='?' | ' '..='/'))).collect();
                // Only colours go without a trace.
                match letters.next() {
                    Some('m') => {}
                    end => {
                        clean.push('\u{fffd}');
                        clean.push_str(&parameters);
                        clean.extend(end.filter(|end| !end.is_control()));
                    }
                }
            }
            '\r' if letters.peek().is_none_or(|next| *next == '\n') => {}
            '\n' | '\t' => clean.push(letter),
            control if control.is_control() => clean.push('\u{fffd}'),
            letter => clean.push(letter),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_left_alone() {
        for (text, expected) in [
            ("plain\tü\n", "plain\tü\n"),
            ("\x1b[1;32mgreen\x1b[0m", "green"),
            ("line\r\n", "line\n"),
            ("\x1b[2J\x1b[Hx", "\u{fffd}2J\u{fffd}Hx"),
            ("\x1b]0;title\x07", "\u{fffd}]0;title\u{fffd}"),
            ("a\rb", "a\u{fffd}b"),
            ("\x1b", "\u{fffd}"),
            ("\x1b[", "\u{fffd}"),
        ] {
            assert_eq!(harmless(text), expected, "{text:?}");
        }
    }
}
