//! Keys and certificates of one API server.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// What is written, and the authority that clients must trust.
pub(crate) struct Certs {
    pub(crate) ca_pem: String,
    pub(crate) ca_der: Vec<u8>,
}

/// Writes `server.crt`, `server.key` and `accounts.key` with its public half into `dir`.
pub(crate) fn write(dir: &Path) -> Certs {
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
    let accounts = KeyPair::generate().expect("generate a key");
    fs::write(dir.join("accounts.key"), accounts.serialize_pem()).expect("write a key");
    fs::write(dir.join("accounts.pub"), accounts.public_key_pem()).expect("write a key");
    Certs { ca_pem: authority.pem(), ca_der: authority.der().to_vec() }
}
