//! TLS of drivers that connect to something themselves.
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Trusts what this host trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name other certificates. The error is a text for
/// the operator.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map(|err| format!(" ({err})")).unwrap_or_default();
        return Err(format!(
            "this host has no certificates to check TLS peers with{why}: install `ca-certificates`, or name a file in \
             SSL_CERT_FILE"
        ));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
