//! The exporter that the environment names.
use std::path::Path;

use jumpstarter_client::{DirectTls, Session};
use jumpstarter_config::Env;

use crate::{failure::Failure, values::insecure_tls};

/// Connects to it.
pub(super) async fn connect() -> Result<Session, Failure> {
    let env = Env::from_process();
    let host = env.non_empty("JUMPSTARTER_HOST").ok_or_else(|| {
        Failure::new(
            "the j command must be used inside a jmp shell: JUMPSTARTER_HOST not set; start one with `jmp shell`",
        )
    })?;
    let session = if is_address(host) {
        let tls = if insecure_tls(&env) { DirectTls::Plaintext } else { DirectTls::Tls { ca_pem: None } };
        Session::direct(host, &tls, env.get("JMP_GRPC_PASSPHRASE")).await
    } else {
        Session::unix(Path::new(host)).await
    };
    session.map_err(|error| {
        let text = crate::failure::chain(&error);
        Failure::new(format!("{text}; is the `jmp shell` that this command belongs to still running?"))
    })
}

/// `host:port` rather than the path of a socket: it ends in a port.
fn is_address(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths() {
        for (host, expected) in [
            ("/run/user/0/jumpstarter-abc/socket", false),
            ("lab:1234", true),
            ("[::1]:1234", true),
            ("/tmp/a:0", false),
            ("/tmp/a:70000", false),
        ] {
            assert_eq!(is_address(host), expected, "{host}");
        }
    }
}
