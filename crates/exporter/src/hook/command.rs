//! Which program runs a hook's script.
use std::path::Path;

use jumpstarter_config::Hook;

/// Interpreter of inline text, and of files that no other is known for.
const SHELL: &str = "/bin/sh";
/// Names the Python interpreter that has the client packages.
const PYTHON_VARIABLE: &str = "JMP_PYTHON";

/// Program and arguments: a script of one line that names a file is run as a file, anything else as inline text.
pub(super) fn argv(hook: &Hook) -> Vec<String> {
    let python = std::env::var(PYTHON_VARIABLE).ok().filter(|path| !path.is_empty());
    argv_with(hook, python.as_deref().unwrap_or("python3"))
}

fn argv_with(hook: &Hook, python: &str) -> Vec<String> {
    let path = hook.script.trim();
    let is_file = !path.contains('\n') && Path::new(path).is_file();
    let interpreter = hook.exec.clone().filter(|exec| !exec.is_empty()).unwrap_or_else(|| {
        let is_python = Path::new(path).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("py"));
        if is_file && is_python { python.to_owned() } else { SHELL.to_owned() }
    });
    if is_file { vec![interpreter, path.to_owned()] } else { vec![interpreter, "-c".to_owned(), hook.script.clone()] }
}

#[cfg(test)]
mod tests {
    use jumpstarter_config::OnFailure;

    use super::*;

    fn hook(script: &str, exec: Option<&str>) -> Hook {
        Hook { exec: exec.map(str::to_owned), script: script.to_owned(), timeout: 1, on_failure: OnFailure::default() }
    }

    #[test]
    fn files_are_run_and_texts_are_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (script, python) = (file("a.sh"), file("b.PY"));
        for (text, exec, expected) in [
            ("echo hi", None, vec!["/bin/sh", "-c", "echo hi"]),
            ("print(1)", Some("/usr/bin/python3"), vec!["/usr/bin/python3", "-c", "print(1)"]),
            (script.as_str(), None, vec!["/bin/sh", &script]),
            (&format!(" {script}\n"), None, vec!["/bin/sh", &script]),
            (&script, Some("/bin/bash"), vec!["/bin/bash", &script]),
            (&python, None, vec!["py", &python]),
            (&python, Some("/bin/cat"), vec!["/bin/cat", &python]),
            ("/no/such/file.py", None, vec!["/bin/sh", "-c", "/no/such/file.py"]),
        ] {
            assert_eq!(argv_with(&hook(text, exec), "py"), expected, "{text}");
        }
    }
}
