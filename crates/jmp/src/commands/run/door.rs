//! `--direct-listen`: clients of leases that need no router.
use jumpstarter_config::Env;

use super::{Run, direct::address};
use crate::failure::Failure;

/// Where clients come in, and what they are told of that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DoorOptions {
    /// `host:port`.
    pub(super) listen: String,
    /// `HOST` or `HOST:PORT`; found out when there is none.
    pub(super) addresses: Vec<String>,
}

/// What options and environment ask for; nothing when they ask for no door.
pub(super) fn options(run: &Run, env: &Env) -> Result<Option<DoorOptions>, Failure> {
    if run.tls_grpc_listener.is_some() {
        return Ok(None);
    }
    let Some(listen) = run.direct_listen.as_deref().or_else(|| env.non_empty("JMP_DIRECT_LISTEN")) else {
        return Ok(None);
    };
    let listen = match listen.strip_suffix(":0") {
        // Any free port: for trials, since no firewall can be opened for it.
        Some(host) if !host.is_empty() => listen.to_owned(),
        _ => address(listen, "--direct-listen")?,
    };
    let mut addresses = run.direct_address.clone();
    if addresses.is_empty() {
        let named = env.non_empty("JMP_DIRECT_ADDRESS").unwrap_or_default().split(',').map(str::trim);
        addresses = named.filter(|text| !text.is_empty()).map(str::to_owned).collect();
    }
    Ok(Some(DoorOptions { listen, addresses }))
}
