//! Questions on the terminal. The answers may also come from a pipe.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

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

/// The text given, else what the user answers; asked again until there is something.
pub(crate) fn unless_given(given: Option<String>, question: &str) -> Result<String, Failure> {
    if let Some(given) = given {
        return Ok(given);
    }
    loop {
        let answer = read(&format!("{question}: "))?.ok_or(Failure::Aborted)?;
        if !answer.trim().is_empty() {
            return Ok(answer.trim().to_owned());
        }
    }
}

/// Asks for a secret, which a terminal does not show.
pub(crate) fn hidden(question: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return unless_given(None, question);
    }
    let before = tcgetattr(&stdin).map_err(|error| Failure::from_error("read the terminal's settings", &error))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let set = |modes| tcsetattr(&stdin, OptionalActions::Flush, modes);
    set(&silent).map_err(|error| Failure::from_error("hide what is typed", &error))?;
    let answer = unless_given(None, question);
    let _ = set(&before);
    // The line break that ended the answer was not shown either.
    crate::output::complain("");
    answer
}

/// Asks for one of so many things, counted from 1.
pub(crate) fn number(question: &str, many: usize) -> Result<usize, Failure> {
    loop {
        let answer = unless_given(None, question)?;
        match answer.parse::<usize>() {
            Ok(chosen) if (1..=many).contains(&chosen) => return Ok(chosen),
            _ => crate::output::complain(&format!("Error: {answer} is not in the range 1 to {many}.")),
        }
    }
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
