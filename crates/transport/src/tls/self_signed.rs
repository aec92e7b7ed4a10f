//! A certificate that signs itself and lives in memory only: for services without a directory of their own, whose clients
//! do not verify.

use std::path::Path;

use jiff::ToSpan;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::TlsError;
use super::own_ca::{LEAF_DAYS, crypto, set_life, subject_names};
use super::pair::Pair;

/// What errors call it, in place of a file.
const NAME: &str = "the self-signed certificate";

/// A new certificate for `hosts` and this machine's own names.
pub(super) fn issue(hosts: &[String]) -> Result<Pair, TlsError> {
    let key = KeyPair::generate().map_err(|error| crypto(&error))?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Jumpstarter service");
    parameters.subject_alt_names = subject_names(hosts)?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_life(&mut parameters, LEAF_DAYS.days());
    let certificate = parameters.self_signed(&key).map_err(|error| crypto(&error))?.pem();
    let name = Path::new(NAME);
    let pair = Pair::from_pem((name, certificate.as_bytes()), (name, key.serialize_pem().as_bytes()))?;
    tracing::info!(hosts = ?pair.facts.hosts, until = %pair.facts.not_after, "made a self-signed certificate");
    Ok(pair)
}
