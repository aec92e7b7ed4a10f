//! Questions on the terminal. The answers may also come from a pipe.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Asks a yes-or-no question; no answer is no. Where nobody can answer, because the input has ended, it is `default`.
pub(crate) fn confirm(question: &str, without_answer: bool) -> Result<bool, Failure> {
    loop {
        let Some(answer) = read(&format!("{question} [y/N]: "))? else {
            return Ok(without_answer);
        };
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" | "" => return Ok(false),
            _ => crate::output::complain("Error: invalid input"),
        }
    }
}

/// Asks for a text; nothing is the empty text.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    Ok(read(&format!("{question} []: "))?.unwrap_or_default().trim().to_owned())
}

/// One line of input; nothing when it has ended. Ending it on purpose, at a terminal, aborts.
fn read(question: &str) -> Result<Option<String>, Failure> {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    let mut line = String::new();
    let stdin = std::io::stdin();
    let read = stdin.lock().read_line(&mut line).map_err(|error| Failure::from_error("read the answer", &error))?;
    if read == 0 {
        let _ = writeln!(stderr);
        return if stdin.is_terminal() { Err(Failure::Aborted) } else { Ok(None) };
    }
    Ok(Some(line))
}
