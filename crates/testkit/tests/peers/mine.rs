//! A leased session of our client in this process.

use std::{path::Path, time::Duration};

use jumpstarter_client::{Client, CreateLease, Session};
use jumpstarter_config::{ClientConfig, Env};

/// The session, and what it takes to work with it from a test that is not asynchronous.
pub(crate) struct Mine {
    runtime: tokio::runtime::Runtime,
    pub(crate) session: Session,
    pub(crate) client: Client,
    pub(crate) lease: String,
}

impl Mine {
    /// Leases what `selector` finds with the client of the configuration file `config`.
    pub(crate) fn start(config: &Path, selector: &str) -> Self {
        jumpstarter_transport::install_crypto_provider();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = ClientConfig::from_file(config, &Env::empty()).unwrap();
        let (client, lease, session) = runtime.block_on(async {
            let client = Client::from_config(&config).await.unwrap();
            let wanted = CreateLease {
                selector: selector.to_owned(),
                duration: Duration::from_mins(10),
                ..CreateLease::default()
            };
            let lease = client.create_lease(&wanted).await.unwrap().name;
            client.wait_ready(&lease, |_| {}).await.unwrap();
            let session = client.session(&lease).await.unwrap();
            (client, lease, session)
        });
        Self { runtime, session, client, lease }
    }

    /// Waits for `work`, for at most two minutes.
    pub(crate) fn run<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_mins(2), work).await.unwrap() })
    }

    /// Gives the lease back.
    pub(crate) fn end(&self) {
        self.run(self.client.delete_lease(&self.lease)).unwrap();
    }
}
