//! Talks to a driver's byte stream: `jmp shell -l SELECTOR -- cargo run --example stream`.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::{env, error::Error, path::Path};

use jumpstarter_client::Session;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = env::var("JUMPSTARTER_HOST")?;
    let session = Session::unix(Path::new(&host)).await?;

    let mut stream = session.open("echo", "connect").await?;
    stream.write_all(b"hello").await?;
    // The other direction stays open.
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("the device says {answer}");
    Ok(())
}
