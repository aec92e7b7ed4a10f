//! Running other programs: shown before they start, failing with their name.

use std::{
    env,
    ffi::OsString,
    io,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

/// The `cargo` that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace());
    command
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Runs `command` with our output and without input.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("xtask: {shown}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start `{shown}`"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` ended with {status}") }
}

/// A command that runs beside others; what it says is shown when it has ended.
pub(crate) struct Aside {
    shown: String,
    child: Child,
    output: NamedTempFile,
}

impl Aside {
    /// Starts it without input.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let shown = shown(&command);
        eprintln!("xtask: aside: {shown}");
        let output = NamedTempFile::new().context("make a file for the output of a command")?;
        // One file with one position, so that neither writes over the other.
        let out = output.reopen().context("open the file for the output of a command")?;
        let err = out.try_clone().context("open the file for the output of a command")?;
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().with_context(|| format!("start `{shown}`"))?;
        Ok(Self { shown, child, output })
    }

    /// Waits for its end, shows what it said, and fails as it did.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.child.wait().with_context(|| format!("wait for `{}`", self.shown))?;
        eprintln!("xtask: said aside: {}", self.shown);
        io::copy(self.output.as_file_mut(), &mut io::stdout()).context("show what was said aside")?;
        if status.success() { Ok(()) } else { bail!("`{}` ended with {status}", self.shown) }
    }
}

/// Whether `command` can be started and ends well; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it, without the directories of program and paths.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
