//! Keys and certificates for servers on loopback.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The authority that clients must trust.
pub struct Authority {
    /// Its certificate, as PEM.
    pub pem: String,
    /// The same as DER.
    pub der: Vec<u8>,
}

/// Writes a `server.crt` for loopback and its `server.key` into `dir`; the authority that signed it.
#[must_use]
pub fn loopback_certificate(dir: &Path) -> Authority {
    let ca_key = KeyPair::generate().expect("generate a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "test authority");
    let authority = ca.self_signed(&ca_key).expect("sign the authority");
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().expect("generate a key");
    let names = ["localhost", "127.0.0.1", "kubernetes.default.svc"].map(str::to_owned);
    let params = CertificateParams::new(names).expect("plain names");
    let server = params.signed_by(&key, &issuer).expect("sign a certificate");
    fs::write(dir.join("server.crt"), server.pem()).expect("write a certificate");
    fs::write(dir.join("server.key"), key.serialize_pem()).expect("write a key");
    Authority { pem: authority.pem(), der: authority.der().to_vec() }
}

/// Writes `accounts.key`, which signs tokens of service accounts, and its public half into `dir`.
pub(crate) fn account_keys(dir: &Path) {
    let accounts = KeyPair::generate().expect("generate a key");
    fs::write(dir.join("accounts.key"), accounts.serialize_pem()).expect("write a key");
    fs::write(dir.join("accounts.pub"), accounts.public_key_pem()).expect("write a key");
}
