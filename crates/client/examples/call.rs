//! Calls drivers of a leased exporter: `jmp shell -l SELECTOR -- cargo run --example call`.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::{env, error::Error, path::Path};

use futures::TryStreamExt as _;
use jumpstarter_client::Session;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = env::var("JUMPSTARTER_HOST")?;
    let session = Session::unix(Path::new(&host)).await?;

    for driver in &session.report().await?.drivers {
        println!("driver '{}' for {}", driver.path, driver.client);
    }
    session.call("power", "on", &[]).await?;
    let mut readings = session.stream_call("power", "read", &[]).await?;
    while let Some(reading) = readings.try_next().await? {
        println!("{} V", reading["voltage"]);
    }
    Ok(())
}
