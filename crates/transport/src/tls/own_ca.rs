//! The CA that a service makes for itself at its first start, and the certificates that it issues to itself.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan, Zoned};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::TlsError;
use super::file::{read_if_exists, replace};
use super::pair::{Facts, Pair, certificates};

/// Life of the CA. Its clients have it in their configurations, so it should outlive the lab's hardware.
const CA_YEARS: i64 = 10;
/// Life of a leaf: with the day of clock skew before it, just what browsers still accept (398 days).
pub(super) const LEAF_DAYS: i64 = 396;

/// A private CA in a directory: `ca.crt`, `ca.key`, and the current leaf as `server.crt`, `server.key`.
pub struct OwnCa {
    directory: PathBuf,
    certificate: String,
    key: KeyPair,
}

impl OwnCa {
    /// Loads the CA from `directory`, or makes one there. An existing CA is never replaced.
    ///
    /// # Errors
    /// When the files cannot be read, belong to different CAs, or only one of them is there.
    pub fn load_or_create(directory: &Path) -> Result<Self, TlsError> {
        let (certificate_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
        let (certificate, key) = match (read_if_exists(&certificate_path)?, read_if_exists(&key_path)?) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Self::create(directory),
            (None, Some(_)) => return Err(TlsError::HalfCa { present: key_path, missing: certificate_path }),
            (Some(_), None) => return Err(TlsError::HalfCa { present: certificate_path, missing: key_path }),
        };
        // Checks syntax, and that the two belong together.
        Pair::from_pem((&certificate_path, &certificate), (&key_path, &key))?;
        let text = |path: &Path, bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .map_err(|_| TlsError::Content { path: path.to_owned(), reason: "it is not text".to_owned() })
        };
        let certificate = text(&certificate_path, certificate)?;
        let key = KeyPair::from_pem(&text(&key_path, key)?)
            .map_err(|error| TlsError::Content { path: key_path, reason: error.to_string() })?;
        Issuer::from_ca_cert_pem(&certificate, &key)
            .map_err(|error| TlsError::Content { path: certificate_path, reason: error.to_string() })?;
        Ok(Self { directory: directory.to_owned(), certificate, key })
    }

    fn create(directory: &Path) -> Result<Self, TlsError> {
        std::fs::create_dir_all(directory).map_err(|source| TlsError::Write { path: directory.to_owned(), source })?;
        let key = KeyPair::generate().map_err(|error| crypto(&error))?;
        let mut parameters = CertificateParams::default();
        // A name of its own for every CA: two labs in one trust store must not be taken for each other.
        let id = parameters.key_identifier(&key);
        let id = u32::from_be_bytes([0, 1, 2, 3].map(|index| id.get(index).copied().unwrap_or_default()));
        parameters.distinguished_name.push(DnType::CommonName, format!("Jumpstarter CA {id:08x}"));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_life(&mut parameters, CA_YEARS.years());
        let certificate = parameters.self_signed(&key).map_err(|error| crypto(&error))?.pem();
        // The key first: with a certificate alone the next start would refuse, with a key alone as well, but a
        // certificate that has been given out must have its key on disk.
        replace(&directory.join("ca.key"), &key.serialize_pem(), 0o600)?;
        replace(&directory.join("ca.crt"), &certificate, 0o644)?;
        tracing::info!(directory = %directory.display(), "made a certificate authority");
        Ok(Self { directory: directory.to_owned(), certificate, key })
    }

    /// The CA's certificate as PEM: what clients and exporters need to trust this service.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.certificate
    }

    /// The leaf on disk if it was issued by this CA for exactly these hosts and is not due for renewal, else a new one.
    pub(super) fn leaf(&self, hosts: &[String], now: Timestamp) -> Result<Pair, TlsError> {
        let wanted = subject_names(hosts)?;
        match self.stored_leaf() {
            Ok(Some(pair)) if !pair.facts.is_due(now) && same_hosts(&pair.facts, &wanted) => return Ok(pair),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the stored server certificate is not usable, issuing a new one"),
        }
        self.issue(wanted)
    }

    /// The leaf on disk; `None` when there is none, or another CA's.
    fn stored_leaf(&self) -> Result<Option<Pair>, TlsError> {
        let (path, key_path) = self.leaf_paths();
        let (Some(chain), Some(key)) = (read_if_exists(&path)?, read_if_exists(&key_path)?) else { return Ok(None) };
        let ours = certificates(&path, &chain)?.get(1) == certificates(&path, self.certificate.as_bytes())?.first();
        if ours { Pair::from_pem((&path, &chain), (&key_path, &key)).map(Some) } else { Ok(None) }
    }

    fn issue(&self, names: Vec<SanType>) -> Result<Pair, TlsError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key).map_err(|error| crypto(&error))?;
        let key = KeyPair::generate().map_err(|error| crypto(&error))?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "Jumpstarter service");
        parameters.subject_alt_names = names;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_life(&mut parameters, LEAF_DAYS.days());
        // With the CA behind it: clients that trust whatever is presented then hold a complete chain.
        let chain = parameters.signed_by(&key, &issuer).map_err(|error| crypto(&error))?.pem() + &self.certificate;
        let key = key.serialize_pem();
        let (path, key_path) = self.leaf_paths();
        replace(&key_path, &key, 0o600)?;
        replace(&path, &chain, 0o644)?;
        let pair = Pair::from_pem((&path, chain.as_bytes()), (&key_path, key.as_bytes()))?;
        tracing::info!(hosts = ?pair.facts.hosts, until = %pair.facts.not_after, "issued a server certificate");
        Ok(pair)
    }

    fn leaf_paths(&self) -> (PathBuf, PathBuf) {
        (self.directory.join("server.crt"), self.directory.join("server.key"))
    }
}

impl fmt::Debug for OwnCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCa").field("directory", &self.directory).finish_non_exhaustive()
    }
}

pub(super) fn crypto(error: &rcgen::Error) -> TlsError {
    TlsError::Crypto(error.to_string())
}

/// From yesterday, for peers whose clocks are behind, until `life` from today.
pub(super) fn set_life(parameters: &mut CertificateParams, life: jiff::Span) {
    let today = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    parameters.not_before = day(today.saturating_sub(1.day()));
    parameters.not_after = day(today.saturating_add(life));
}

/// The hosts given, and the names that this machine always has for itself; without repetition, in order.
pub(super) fn subject_names(hosts: &[String]) -> Result<Vec<SanType>, TlsError> {
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let machine = rustix::system::uname().nodename().to_str().map(str::to_owned).ok();
    let mut names: Vec<SanType> = Vec::new();
    for host in hosts {
        let name = subject_name(host).ok_or_else(|| TlsError::Host(host.clone()))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // A machine name that no certificate can carry is the machine's business.
    for name in own.iter().chain(&machine).filter_map(|host| subject_name(host)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn subject_name(host: &str) -> Option<SanType> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(SanType::IpAddress(address));
    }
    let lower = bare.to_ascii_lowercase();
    let usable = !lower.is_empty()
        && lower.len() <= 253
        && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte));
    usable.then(|| Ia5String::try_from(lower).ok().map(SanType::DnsName)).flatten()
}

fn same_hosts(facts: &Facts, wanted: &[SanType]) -> bool {
    let mut wanted: Vec<String> = wanted
        .iter()
        .filter_map(|name| match name {
            SanType::DnsName(name) => Some(name.as_str().to_owned()),
            SanType::IpAddress(address) => Some(address.to_string()),
            _ => None,
        })
        .collect();
    let mut present = facts.hosts.clone();
    wanted.sort_unstable();
    present.sort_unstable();
    wanted == present
}
