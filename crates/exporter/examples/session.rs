//! Serves MockPower, an echo and a TCP port on a Unix socket, for trying clients by hand.
use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_drivers::Registry;
use jumpstarter_exporter::{Session, SessionInfo};
use jumpstarter_protocol::v1::ExporterStatus;
use std::path::PathBuf;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).init();
    let path = PathBuf::from(std::env::args().nth(1).unwrap());
    let yaml = "metadata: {namespace: lab, name: ex}\nexport:\n  power: {type: jumpstarter_driver_power.driver.MockPower}\n  echo: {type: jumpstarter_driver_network.driver.EchoNetwork}\n  group: {children: {again: {ref: power}}}\n";
    let config = ExporterConfig::from_yaml(yaml, &Env::empty()).unwrap();
    let session = Session::new(&config, &Registry::builtin(), SessionInfo::default()).unwrap();
    session.set_status(ExporterStatus::LeaseReady, "");
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    session.serve_unix(listener).await.unwrap();
}
