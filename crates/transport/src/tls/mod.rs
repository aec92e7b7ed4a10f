//! The certificate that a server presents: from its own CA, self-signed, or the operator's files; replaced while serving.

mod error;
mod file;
mod own_ca;
mod pair;
mod self_signed;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use error::TlsError;
pub use own_ca::OwnCa;
pub(crate) use pair::{Pair, certificates, provider};

/// How often the operator's files are looked at.
const FILE_POLL: Duration = Duration::from_secs(2);
/// How often our own certificate's age is looked at.
const AGE_POLL: Duration = Duration::from_mins(10);

/// A certificate in service. Give it to [`crate::Server`]; connections take whatever it holds at their handshake.
pub struct ServingTls {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    source: Source,
    /// Held by the one task that renews.
    renewing: tokio::sync::Mutex<()>,
}

enum Source {
    Own { ca: OwnCa, hosts: Mutex<Vec<String>> },
    SelfSigned { hosts: Vec<String> },
    Files { files: Files, seen: Mutex<Contents> },
}

/// The operator's files.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
}

/// Their contents when last looked at: compared whole, so no change is missed for want of a newer time stamp.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

impl ServingTls {
    /// A certificate from our own CA for `hosts` and this machine's own names, kept in the CA's directory and renewed
    /// when a third of its life is left.
    ///
    /// # Errors
    /// When a host cannot stand in a certificate or the directory cannot be written.
    pub fn own(ca: OwnCa, hosts: &[String]) -> Result<Self, TlsError> {
        let pair = ca.leaf(hosts, Timestamp::now())?;
        let ca_pem = Some(ca.ca_pem().to_owned());
        Ok(Self::new(pair, ca_pem, Source::Own { ca, hosts: Mutex::new(hosts.to_vec()) }))
    }

    /// The operator's certificate: PEM files with the chain (leaf first), its key, and optionally the CA that clients
    /// are to trust. Changed files are taken over within seconds; if they are broken the old certificate stays.
    ///
    /// # Errors
    /// When a file is unreadable, or the key is not the certificate's.
    pub fn from_files(certificate: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.into(), key: key.into(), ca: ca.map(Path::to_owned) };
        let contents = files.read()?;
        let (pair, ca_pem) = files.check(&contents)?;
        warn_of_age(&pair, &files.certificate);
        Ok(Self::new(pair, ca_pem, Source::Files { files, seen: Mutex::new(contents) }))
    }

    /// A certificate for `hosts` and this machine's own names that signs itself, kept in memory and renewed when a third
    /// of its life is left. Every start makes another one: only clients that do not verify can use it.
    ///
    /// # Errors
    /// When a host cannot stand in a certificate.
    pub fn self_signed(hosts: &[String]) -> Result<Self, TlsError> {
        let pair = self_signed::issue(hosts)?;
        Ok(Self::new(pair, None, Source::SelfSigned { hosts: hosts.to_vec() }))
    }

    fn new(pair: Pair, ca_pem: Option<String>, source: Source) -> Self {
        let current = Arc::new(Current(RwLock::new((pair, ca_pem))));
        let config = Arc::new(server_config(Arc::clone(&current)));
        Self { current, config, source, renewing: tokio::sync::Mutex::new(()) }
    }

    /// What clients must trust, as PEM; `None` when the operator named no CA, for instance because it is a public one.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// When the certificate in service ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).0.facts.not_after
    }

    /// The names and addresses that the certificate in service is good for.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).0.facts.hosts.clone()
    }

    /// Changes the hosts of our own certificate, which is issued anew if it lacks one. Operators' files stay as they
    /// are.
    ///
    /// # Errors
    /// As [`ServingTls::own`]; the old certificate then stays.
    pub fn set_hosts(&self, new: &[String]) -> Result<(), TlsError> {
        let Source::Own { ca, hosts } = &self.source else { return Ok(()) };
        let pair = ca.leaf(new, Timestamp::now())?;
        new.clone_into(&mut hosts.lock().unwrap_or_else(PoisonError::into_inner));
        self.current.replace_pair(pair);
        Ok(())
    }

    /// The configuration for handshakes; connections made with it see later certificates too.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Renews or reloads until `stop` fires. [`crate::Server`] runs this; a second call at the same time only waits.
    pub async fn maintain(&self, stop: CancellationToken) {
        let Some(_renewing) = stop.run_until_cancelled(self.renewing.lock()).await else { return };
        let period = match self.source {
            Source::Own { .. } | Source::SelfSigned { .. } => AGE_POLL,
            Source::Files { .. } => FILE_POLL,
        };
        // `sleep` may be dropped at any time.
        while stop.run_until_cancelled(sleep(period)).await.is_some() {
            self.refresh(Timestamp::now());
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).0.facts.is_due(now)
    }

    /// Looks once whether there is something newer to serve. Trouble is logged and the old certificate stays.
    pub fn refresh(&self, now: Timestamp) {
        match &self.source {
            Source::Own { ca, hosts } => {
                if !self.is_due(now) {
                    return;
                }
                let hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match ca.leaf(&hosts, now) {
                    Ok(pair) => self.current.replace_pair(pair),
                    Err(error) => tracing::error!(%error, "cannot renew the server certificate"),
                }
            }
            Source::SelfSigned { hosts } => {
                if !self.is_due(now) {
                    return;
                }
                match self_signed::issue(hosts) {
                    Ok(pair) => self.current.replace_pair(pair),
                    Err(error) => tracing::error!(%error, "cannot renew the server certificate"),
                }
            }
            Source::Files { files, seen } => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                // A file that is missing for a moment is being replaced.
                let Ok(contents) = files.read() else { return };
                if contents == *seen {
                    return;
                }
                match files.check(&contents) {
                    Ok((pair, ca_pem)) => {
                        tracing::info!(path = %files.certificate.display(), until = %pair.facts.not_after, "took over a changed certificate");
                        warn_of_age(&pair, &files.certificate);
                        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = (pair, ca_pem);
                    }
                    Err(error) => tracing::error!(%error, "the changed certificate is not usable, the old one stays"),
                }
                *seen = contents;
            }
        }
    }
}

impl fmt::Debug for ServingTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingTls")
            .field("hosts", &self.hosts())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

impl Files {
    fn read(&self) -> Result<Contents, TlsError> {
        let Self { certificate, key, ca } = self;
        Ok(Contents {
            certificate: file::read(certificate)?,
            key: file::read(key)?,
            ca: ca.as_deref().map(file::read).transpose()?,
        })
    }

    fn check(&self, contents: &Contents) -> Result<(Pair, Option<String>), TlsError> {
        let pair = Pair::from_pem((&self.certificate, &contents.certificate), (&self.key, &contents.key))?;
        let ca_pem = match (&self.ca, &contents.ca) {
            (Some(path), Some(text)) => {
                certificates(path, text)?;
                Some(String::from_utf8_lossy(text).into_owned())
            }
            _ => None,
        };
        Ok((pair, ca_pem))
    }
}

/// Says that clients will refuse this certificate: it may be the operator's only one, so we go on.
fn warn_of_age(pair: &Pair, path: &Path) {
    let now = Timestamp::now();
    if pair.facts.not_after <= now || now < pair.facts.not_before {
        let (from, until) = (pair.facts.not_before, pair.facts.not_after);
        tracing::error!(path = %path.display(), %from, %until, "the certificate is not valid today, clients will refuse it");
    }
}

/// What is served now: the pair, and the CA to trust.
struct Current(RwLock<(Pair, Option<String>)>);

impl Current {
    fn replace_pair(&self, pair: Pair) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).0 = pair;
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whatever name was asked for: the client decides whether it likes the answer.
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).0.served))
    }
}

fn server_config(current: Arc<Current>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the aws-lc-rs provider serves TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(current);
    // Ours first: a client that offers both gets HTTP/2. One that offers nothing (the probe of Python clients) may go on.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Peers stay connected for days; what resumption would save is not worth memory for every one of them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}
