//! Outside text as quoted in messages.

/// Most characters of outside text that a message repeats.
const LONGEST: usize = 128;

/// The text, cut when somebody sent a book: a message must stay short whatever it is about.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
