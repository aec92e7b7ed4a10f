//! The `address` method of drivers that lead to a host and a port.
use std::net::{IpAddr, SocketAddr};

use tokio::net::lookup_host;

use crate::{DriverError, Value, args::Args, keys::ConfigKeys};

/// Where something listens, and whether clients may be told.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) told: bool,
}

impl Target {
    /// Reads `host`, `port` and `enable_address`.
    pub(super) fn new(keys: &mut ConfigKeys) -> Self {
        let target =
            Self { host: keys.required("host"), port: keys.required("port"), told: keys.or("enable_address", true) };
        if target.port == 0 {
            keys.fault("port", "must be 1 to 65535");
        }
        target
    }

    /// The answer to `address`: the scheme and the first address that the host name has; the name itself when it
    /// has none.
    pub(super) async fn address(&self, scheme: &str, args: Vec<Value>) -> Result<Value, DriverError> {
        Args::new("address", args).end()?;
        tell(self.told)?;
        let (host, port) = (self.host.as_str(), self.port);
        let ip = match host.parse::<IpAddr>() {
            Ok(ip) => Some(ip),
            Err(_) => lookup_host((host, port)).await.ok().and_then(|mut all| all.next()).map(|a| a.ip()),
        };
        Ok(Value::String(match ip {
            Some(ip) => format!("{scheme}://{}", SocketAddr::new(ip, port)),
            None => format!("{scheme}://{host}:{port}"),
        }))
    }
}

/// Refuses when the address is to be kept from clients. The text is one that people search for.
pub(super) fn tell(told: bool) -> Result<(), DriverError> {
    if told {
        return Ok(());
    }
    let message = "enable_address mode is not true in the exporter configuration";
    Err(DriverError::InvalidArgument(message.to_owned()))
}
