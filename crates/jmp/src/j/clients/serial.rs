//! Serial ports: a console for people, a pipe for programs.
mod escape;
mod raw;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use jumpstarter_client::ByteStream;
use tokio::{
    fs::OpenOptions,
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf, split},
};

use self::{escape::Escape, raw::RawMode};
use super::Use;
use crate::{failure::Failure, output};

/// Bytes handled at a time.
const CHUNK: usize = 16 * 1024;

pub(super) fn commands() -> Vec<Command> {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    vec![
        Command::new("start-console").about("Start serial port console; leave it with CTRL+B three times"),
        Command::new("pipe")
            .about("Pipe serial port data to stdout or a file")
            .long_about(
                "Pipe serial port data to stdout or a file.\n\nStandard input is sent to the port when it is no terminal; \
                 after its end the output goes on until Ctrl-C or the end of the connection.",
            )
            .arg(
                Arg::new("output")
                    .short('o')
                    .long("output")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("File for the output instead of stdout"),
            )
            .arg(flag("input", "Send stdin to the port even when it is a terminal").short('i'))
            .arg(flag("no-input", "Do not send stdin to the port"))
            .arg(flag("append", "Append to the output file instead of overwriting it").short('a'))
            .arg(flag("no-output", "Send stdin to the port, and stop at its end")),
    ]
}

pub(super) async fn run(driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
    if name == "start-console" { console(driver).await } else { pipe(driver, &Pipe::new(matches)?).await }
}

async fn console(driver: Use<'_>) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("start-console needs a terminal; use `pipe` for programs"));
    }
    let stream = driver.session.open(driver.path, "connect").await?;
    output::say("\nStarting serial port console ... exit with CTRL+B x 3 times\n");
    // Given back when it goes out of scope, also on the way of an error.
    let _raw = RawMode::enter()?;
    let (mut from, mut to) = split(stream);
    let ended = tokio::select! {
        // Whichever ends first ends the console; nothing is owed to the other.
        ended = copy(&mut from, tokio::io::stdout()) => ended,
        left = type_into(&mut to) => left,
    };
    ended.map_err(|error| Failure::from_error("use the serial port", &error))
}

/// What is typed goes to the port until the escape.
async fn type_into(to: &mut WriteHalf<ByteStream>) -> io::Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut escape = Escape::default();
    let mut buffer = [0; 256];
    loop {
        let read = stdin.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let (sent, left) = escape.take(&buffer[..read]);
        to.write_all(&buffer[..sent]).await?;
        to.flush().await?;
        if left {
            return Ok(());
        }
    }
}

/// What `pipe` is to do.
#[derive(Debug)]
struct Pipe {
    output: Option<PathBuf>,
    append: bool,
    input: bool,
    no_output: bool,
    description: &'static str,
}

impl Pipe {
    fn new(matches: &ArgMatches) -> Result<Self, Failure> {
        let output = matches.get_one::<PathBuf>("output").cloned();
        let flag = |name| matches.get_flag(name);
        let (forced, no_input, append, no_output) =
            (flag("input"), flag("no-input"), flag("append"), flag("no-output"));
        let piped = !io::stdin().is_terminal();
        let input = !no_input && (forced || piped);
        for (wrong, text) in [
            (forced && no_input, "Cannot use both --input and --no-input"),
            (no_output && output.is_some(), "Cannot use both --no-output and --output"),
            (no_output && append, "Cannot use both --no-output and --append"),
            (append && output.is_none(), "--append requires --output"),
            (no_output && !input, "--no-output requires stdin input (pipe stdin or use --input)"),
        ] {
            if wrong {
                return Err(Failure::Usage(text.to_owned()));
            }
        }
        let description = match (input, forced) {
            (true, true) => "forced input mode",
            (true, false) => "auto-detected piped stdin",
            (false, _) => "read-only",
        };
        Ok(Self { output, append, input, no_output, description })
    }

    /// Said before it begins.
    fn status(&self) -> String {
        let mode = self.description;
        match (&self.output, self.input) {
            _ if self.no_output => {
                format!("Fire-and-forget mode ({mode}): stdin→serial, no output (exits at EOF)")
            }
            (None, false) => format!("Reading from serial port ({mode})... (Ctrl+C to exit)"),
            (None, true) => format!("Bidirectional mode ({mode}): stdin→serial, serial→stdout (Ctrl+C to exit)"),
            (Some(path), false) => format!("Logging serial output to {} ({mode})... (Ctrl+C to exit)", path.display()),
            (Some(path), true) => {
                format!("Bidirectional mode ({mode}) with logging to {}... (Ctrl+C to exit)", path.display())
            }
        }
    }
}

async fn pipe(driver: Use<'_>, wanted: &Pipe) -> Result<(), Failure> {
    output::complain(&wanted.status());
    let failed = |error: io::Error| Failure::from_error("use the serial port", &error);
    let target: Box<dyn AsyncWrite + Send + Unpin> = match &wanted.output {
        None => Box::new(tokio::io::stdout()),
        Some(path) => {
            let mut options = OpenOptions::new();
            options.create(true).write(true).append(wanted.append).truncate(!wanted.append);
            let file = options.open(path).await;
            Box::new(file.map_err(|error| Failure::from_error(&format!("open {}", path.display()), &error))?)
        }
    };
    let stream = driver.session.open(driver.path, "connect").await?;
    let (mut from, mut to) = split(stream);
    let send = async {
        if !wanted.input {
            return std::future::pending().await;
        }
        copy(&mut tokio::io::stdin(), &mut to).await?;
        // The other side learns that nothing more comes, and may still answer.
        to.shutdown().await?;
        if wanted.no_output { Ok(()) } else { std::future::pending().await }
    };
    let receive = async {
        if wanted.no_output {
            // What comes is dropped, so that it does not stop what goes.
            copy(&mut from, tokio::io::sink()).await?;
            return std::future::pending().await;
        }
        copy(&mut from, target).await
    };
    let interrupt = tokio::signal::ctrl_c();
    tokio::select! {
        outcome = send => outcome.map_err(failed),
        outcome = receive => {
            outcome.map_err(failed)?;
            output::complain("\nSerial connection closed normally (end of stream).");
            Ok(())
        }
        _ = interrupt => {
            output::complain("\nStopped.");
            Ok(())
        }
    }
}

/// Copies until the end, showing each piece at once.
async fn copy(from: &mut (impl AsyncRead + Unpin), mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}
