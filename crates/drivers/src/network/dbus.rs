//! `jumpstarter_driver_network.driver.DbusNetwork`: the D-Bus of the lab host or of its user.
use std::{collections::BTreeMap, env, path::PathBuf};

use futures::{FutureExt as _, future::BoxFuture};

use crate::{Build, ByteStream, Driver, DriverError};

use super::{connect_tcp, connect_unix, socket_path};

/// Connects to the bus anew for each stream.
pub(super) struct DbusNetwork {
    kind: &'static str,
    bus: Bus,
}

#[derive(Debug, PartialEq, Eq)]
enum Bus {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl DbusNetwork {
    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let kind: String = keys.required("kind");
        keys.end()?;
        let (kind, variable, default) = match kind.as_str() {
            "system" => ("system", "DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket".to_owned()),
            "session" => {
                let user = rustix::process::getuid().as_raw();
                ("session", "DBUS_SESSION_BUS_ADDRESS", format!("unix:path=/run/user/{user}/bus"))
            }
            other => return Err(format!("config key 'kind': '{other}' is neither 'system' nor 'session'")),
        };
        let (origin, address) = match env::var(variable) {
            Ok(address) => (variable, address),
            Err(_) => ("the default bus", default),
        };
        let bus = Bus::parse(&address).map_err(|fault| format!("{origin} is '{address}': {fault}"))?;
        Ok(Self { kind, bus })
    }
}

impl Bus {
    /// Reads the first address of the D-Bus specification's "Server Addresses" list.
    fn parse(text: &str) -> Result<Self, String> {
        let first = text.split(';').next().unwrap_or_default();
        let (transport, rest) = first.split_once(':').ok_or("no ':' behind the transport")?;
        let mut values = BTreeMap::new();
        for part in rest.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("no '=' in '{part}'"))?;
            values.insert(key, value);
        }
        let get = |key: &str| values.get(key).copied().ok_or_else(|| format!("'{key}' is missing"));
        match transport {
            "unix" => socket_path(get("path")?).map(Self::Unix),
            "tcp" => {
                let port = get("port")?.parse().map_err(|_| "'port' is no port number".to_owned())?;
                Ok(Self::Tcp(get("host")?.to_owned(), port))
            }
            other => Err(format!("transport '{other}' is not supported, only 'unix' and 'tcp'")),
        }
    }
}

impl Driver for DbusNetwork {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_network.client.DbusNetworkClient"
    }

    fn extra_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("jumpstarter.dev/dbusnetwork/kind".to_owned(), self.kind.to_owned())])
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            if method != "connect" {
                return Err(DriverError::not_found(method));
            }
            Ok(match &self.bus {
                Bus::Unix(path) => Box::new(connect_unix(path).await?) as ByteStream,
                Bus::Tcp(host, port) => Box::new(connect_tcp(host, *port).await?),
            })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_busses() {
        for (text, wanted) in [
            ("unix:path=/run/bus,guid=12", Ok(Bus::Unix("/run/bus".into()))),
            ("tcp:host=a,port=12;unix:path=/b", Ok(Bus::Tcp("a".to_owned(), 12))),
            ("unix:abstract=/b", Err("'path' is missing")),
            ("tcp:host=a,port=x", Err("'port' is no port number")),
            ("launchd:env=X", Err("transport 'launchd' is not supported, only 'unix' and 'tcp'")),
            ("nothing", Err("no ':' behind the transport")),
            ("unix:path", Err("no '=' in 'path'")),
        ] {
            assert_eq!(Bus::parse(text), wanted.map_err(str::to_owned), "{text}");
        }
    }
}
