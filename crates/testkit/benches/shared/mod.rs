//! What several benchmarks need.

use std::time::Duration;

use jumpstarter_client::{Client, CreateLease};
use jumpstarter_config::{ClientConfig, Env};
use jumpstarter_testkit::Lab;

/// A client of its own with a lease of the exporter `dut` that is ready, and the name of the lease.
pub(crate) async fn leased(lab: &Lab) -> (Client, String) {
    let config = ClientConfig::from_file(&lab.client_config("bob"), &Env::empty()).expect("read a configuration");
    let client = Client::from_config(&config).await.expect("connect to the service");
    let wanted =
        CreateLease { selector: "name=dut".to_owned(), duration: Duration::from_mins(30), ..CreateLease::default() };
    let lease = client.create_lease(&wanted).await.expect("create a lease").name;
    client.wait_ready(&lease, |_| {}).await.expect("a lease that is ready");
    (client, lease)
}
