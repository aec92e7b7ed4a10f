//! Listeners: bound by us, or inherited from systemd so that a restart refuses nobody.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP; with TLS if the server has a certificate.
    Tcp(TcpListener),
    /// A Unix socket; never with TLS, since the file's mode says who may connect.
    Unix(UnixListener),
}

impl Listener {
    /// The TCP address, with the port that was given for port 0.
    #[must_use]
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// How to bind.
#[derive(Debug, Clone)]
pub struct BindOptions {
    /// Connections that may wait to be accepted. A lab's exporters all come back at once after a restart.
    pub backlog: u32,
    /// Lets a new process of the same user bind while this one still drains (`SO_REUSEPORT`). Both must set it.
    /// Connections that wait to be accepted when the old process closes its listener are reset; a socket inherited from
    /// the service manager ([`inherited`]) loses none.
    pub reuse_port: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { backlog: 4096, reuse_port: false }
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not `HOST:PORT`.
    #[error("{0:?} is not an address to listen on: expected HOST:PORT, for example 0.0.0.0:8082 or [::]:8082")]
    Address(String),
    /// The host name has no address.
    #[error("cannot find the address of {address} to listen on: {source}")]
    Resolve {
        /// As given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error("cannot listen on {0}: another process already does; stop it or choose another address")]
    InUse(String),
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The path of a Unix socket is taken by something that is no socket.
    #[error("cannot listen on {0}: a file that is not a socket has this name; move it away")]
    NotASocket(PathBuf),
    /// A socket handed over by the service manager cannot be used.
    #[error("cannot use the inherited socket {index}: {source}")]
    Inherited {
        /// Counted from 0 in the order of the socket unit.
        index: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl ListenError {
    fn bind(address: String, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse { Self::InUse(address) } else { Self::Bind { address, source } }
    }
}

/// Binds `HOST:PORT`; an empty host means every address of the machine, a name with several addresses gives several
/// listeners (only the first one for port 0).
///
/// # Errors
/// See [`ListenError`]; nothing stays bound after an error.
pub async fn bind_tcp(address: &str, options: &BindOptions) -> Result<Vec<Listener>, ListenError> {
    let (host, port) = address.rsplit_once(':').ok_or_else(|| ListenError::Address(address.to_owned()))?;
    let port: u16 = port.parse().map_err(|_| ListenError::Address(address.to_owned()))?;
    if host.is_empty() {
        let every = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        return match bind_address(every, options) {
            Err(ListenError::Bind { .. }) => {
                // A machine without IPv6.
                Ok(vec![bind_address(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port)), options)?])
            }
            bound => Ok(vec![bound?]),
        };
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let resolved = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|source| ListenError::Resolve { address: address.to_owned(), source })?;
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    addresses.dedup();
    if port == 0 {
        addresses.truncate(1);
    }
    if addresses.is_empty() {
        return Err(ListenError::Resolve { address: address.to_owned(), source: io::ErrorKind::NotFound.into() });
    }
    addresses.into_iter().map(|address| bind_address(address, options)).collect()
}

fn bind_address(address: SocketAddr, options: &BindOptions) -> Result<Listener, ListenError> {
    let BindOptions { backlog, reuse_port } = *options;
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Without it a restart within a minute of a connection's end could not bind.
        socket.set_reuseaddr(true)?;
        if reuse_port {
            socket.set_reuseport(true)?;
        }
        socket.bind(address)?;
        socket.listen(backlog)
    };
    bind().map(Listener::Tcp).map_err(|error| ListenError::bind(address.to_string(), error))
}

/// Binds a Unix socket that only what `mode` names may connect to (`0o600`: this user and root). Replaces the file of
/// a process that has ended; refuses while one still answers.
///
/// # Errors
/// See [`ListenError`].
pub async fn bind_unix(path: &Path, mode: u32) -> Result<Listener, ListenError> {
    let shown = || path.display().to_string();
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(ListenError::InUse(shown())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ListenError::bind(shown(), error)),
    }
    // Bound under another name, closed to others, then moved into place: nobody can connect before the mode is set.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let bind = || {
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(&temporary)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))?;
        let listener = socket.listen(128)?;
        std::fs::rename(&temporary, path)?;
        Ok(listener)
    };
    bind().map(Listener::Unix).map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        ListenError::bind(shown(), error)
    })
}

/// A listener handed over by the service manager.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of the socket unit; without one systemd gives the unit's name.
    pub name: Option<String>,
    /// The socket, already bound and listening.
    pub listener: Listener,
}

/// Takes the sockets of systemd's socket activation (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`). Empty without it.
/// Call it once, early: the descriptors are closed on exec from then on, the variables are removed from the
/// environment so that children do not take them for theirs, and a second call finds nothing.
///
/// # Errors
/// [`ListenError::Inherited`] when a descriptor is neither a TCP nor a Unix stream listener.
pub fn inherited() -> Result<Vec<Inherited>, ListenError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
    let mut sockets = listenfd::ListenFd::from_env();
    (0..sockets.len())
        .map(|index| {
            let listener = take(&mut sockets, index).map_err(|source| ListenError::Inherited { index, source })?;
            Ok(Inherited { name: names.next().flatten(), listener })
        })
        .collect()
}

fn take(sockets: &mut listenfd::ListenFd, index: usize) -> io::Result<Listener> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    match sockets.take_tcp_listener(index) {
        Ok(listener) => from_std_tcp(listener.ok_or_else(missing)?),
        Err(_) => from_std_unix(sockets.take_unix_listener(index)?.ok_or_else(missing)?),
    }
}

fn from_std_tcp(listener: StdTcpListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Listener::Tcp)
}

fn from_std_unix(listener: StdUnixListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(Listener::Unix)
}

/// Raises the soft limit of open files to the hard one: every connection is a file. Returns the limit, if known.
pub fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}
