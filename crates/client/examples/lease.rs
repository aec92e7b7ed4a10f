//! Leases an exporter and gives it back: `cargo run --example lease -- CLIENT_CONFIG SELECTOR`.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::{env, error::Error, path::Path, time::Duration};

use jumpstarter_client::{Client, CreateLease};
use jumpstarter_config::{ClientConfig, Env};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    jumpstarter_transport::install_crypto_provider();
    let [config, selector] = [1, 2].map(|index| env::args().nth(index).unwrap_or_default());
    let client = Client::from_config(&ClientConfig::from_file(Path::new(&config), &Env::empty())?).await?;

    let wanted = CreateLease { selector, duration: Duration::from_mins(5), ..CreateLease::default() };
    let lease = client.create_lease(&wanted).await?;
    let granted = client.wait_ready(&lease.name, |reason| eprintln!("waiting: {reason}")).await?;
    println!("{} holds {}", granted.name, granted.exporter.unwrap_or_default());
    client.delete_lease(&lease.name).await?;
    Ok(())
}
