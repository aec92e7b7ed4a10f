//! Servers on the lab host that devices fetch files from: `http`, `tftp`.
mod http;
mod server;
mod service;
mod tftp;

use std::{net::IpAddr, path::PathBuf};

use tokio::net::UdpSocket;

use crate::{Build, Built, DriverLog, Registry, opendal::Opendal};

pub(crate) fn register(all: &mut Registry) {
    all.add_async("jumpstarter_driver_http.driver.HttpServer", http::build);
    all.add_async("jumpstarter_driver_tftp.driver.Tftp", tftp::build);
}

/// What both servers are configured with.
struct Settings {
    root: PathBuf,
    host: String,
    port: u16,
    remove_created: bool,
}

impl Settings {
    async fn new(build: &mut Build, root: &str, port: u16, extra: &'static [&'static str]) -> Result<Self, String> {
        let mut keys = build.keys();
        let root = keys.or("root_dir", PathBuf::from(root));
        let host: Option<String> = keys.option("host");
        let port = keys.or("port", port);
        let remove_created = keys.or("remove_created_on_close", true);
        for key in extra {
            // Accepted, as YAML files have it; nothing ever used it.
            let _: Option<serde_json::Value> = keys.option(key);
        }
        keys.end()?;
        tokio::fs::create_dir_all(&root)
            .await
            .map_err(|err| format!("config key 'root_dir': make the directory {}: {err}", root.display()))?;
        let host = match host.filter(|host| !host.is_empty()) {
            Some(host) => host,
            None => own_address(&build.log).await.to_string(),
        };
        Ok(Self { root, host, port, remove_created })
    }

    /// The child that clients fill the directory with.
    fn storage(&self, build: &Build) -> Result<Built, String> {
        let driver = Opendal::fs(&self.root, self.remove_created, build.resources.clone(), build.log.clone())?;
        Ok(driver.into())
    }
}

/// The address that the default route leaves from; devices beside the lab host reach it there.
async fn own_address(log: &DriverLog) -> IpAddr {
    let ask = async {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        // Nothing is sent: an address for documentation (RFC 5737) takes the default route like any other.
        socket.connect("192.0.2.1:9").await?;
        socket.local_addr()
    };
    match ask.await {
        Ok(address) => address.ip(),
        Err(err) => {
            log.warning(&format!(
                "no default route ({err}): 127.0.0.1 is used, which only this host reaches; set 'host'"
            ));
            IpAddr::from([127, 0, 0, 1])
        }
    }
}
