//! The certificate of a process that is told by its environment.

use anyhow::Context as _;
use jumpstarter_cluster_config::CertificateFiles;
use jumpstarter_transport::ServingTls;

/// The operator's files, taken over again when they change; else one made for the host of `endpoint`, which lives as
/// long as the process.
pub(crate) fn serving(files: Option<&CertificateFiles>, endpoint: &str) -> anyhow::Result<ServingTls> {
    match files {
        Some(CertificateFiles { certificate, key }) => ServingTls::from_files(certificate, key, None)
            .context("load the certificate of EXTERNAL_CERT_PEM and EXTERNAL_KEY_PEM"),
        None => {
            let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            ServingTls::self_signed(&[host]).context("make a certificate")
        }
    }
}
