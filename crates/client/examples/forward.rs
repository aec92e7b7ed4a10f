//! Leads a local port to a driver's network connection: `jmp shell -l SELECTOR -- cargo run --example forward`.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::{env, error::Error, path::Path};

use jumpstarter_client::Session;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = env::var("JUMPSTARTER_HOST")?;
    let session = Session::unix(Path::new(&host)).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("connect to {}", listener.local_addr()?);
    tokio::select! {
        () = session.forward_tcp(&listener, "echo", "connect") => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
