//! What a pySerial URL stands for, and opening it.
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr},
};
use tokio_serial::{SerialPort as _, SerialPortBuilderExt as _, SerialStream};

use crate::{DriverError, network};

/// A port by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Port {
    /// A device node.
    Device(PathBuf),
    /// An echo for each stream.
    Loop,
    /// A TCP server that passes on a port's raw bytes.
    Socket(String, u16),
}

impl Port {
    /// Reads a device path or a URL of pySerial.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        if url.is_empty() || url.contains('\0') {
            return Err("is no device path".to_owned());
        }
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(Self::Device(url.into())) };
        match scheme {
            "loop" => Ok(Self::Loop),
            "socket" => {
                // Options such as `?logging=debug` only concern pySerial's own log.
                let address = rest.split(['/', '?']).next().unwrap_or_default();
                let target = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
                match target {
                    Some((host, port)) if !host.is_empty() && port != 0 => {
                        let host = host.trim_start_matches('[').trim_end_matches(']');
                        Ok(Self::Socket(host.to_owned(), port))
                    }
                    _ => Err(format!("'{url}' lacks a host and a port: socket://HOST:PORT")),
                }
            }
            other => Err(format!(
                "scheme '{other}://' is not built in: give a device path, loop:// or socket://, or install \
                 jumpstarter-driver-pyserial, whose Python driver is then used"
            )),
        }
    }

    /// Opens and closes the port.
    pub(super) async fn check(&self, baudrate: u32) -> Result<(), DriverError> {
        match self {
            Self::Loop => Ok(()),
            Self::Socket(host, port) => network::connect_tcp(host, *port).await.map(drop),
            Self::Device(path) => open(path, baudrate).map(drop),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Loop => f.write_str("loop://"),
            Self::Socket(host, port) => write!(f, "socket://{host}:{port}"),
        }
    }
}

/// Opens a device with 8 data bits, no parity, one stop bit and no flow control.
pub(super) fn open(path: &Path, baudrate: u32) -> Result<SerialStream, DriverError> {
    // Shared: others, such as a terminal on the lab host, may watch, and a stream that follows at once does not have to
    // wait until the one before has let go.
    let opened = tokio_serial::new(path.to_string_lossy(), baudrate).exclusive(false).open_native_async();
    opened.map_err(|err| failed(path, err.into()))
}

/// Opens the device, sets DTR or RTS, and closes it.
pub(super) fn set_line(path: &Path, baudrate: u32, dtr: bool, level: bool) -> Result<(), DriverError> {
    let mut stream = open(path, baudrate)?;
    let set = if dtr { stream.write_data_terminal_ready(level) } else { stream.write_request_to_send(level) };
    let line = if dtr { "DTR" } else { "RTS" };
    set.map_err(|err| {
        let source = io::Error::from(err);
        DriverError::Io { message: format!("set {line} of {}: {source}", path.display()), source }
    })
}

/// Keeps DTR as it is when the port is closed, which would reset some boards. A setting of the device, not of the
/// descriptor, so that one of our own does.
pub(super) fn disable_hupcl(path: &Path) -> io::Result<()> {
    let device =
        rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&device)?;
    settings.control_modes.remove(ControlModes::HUPCL);
    tcsetattr(&device, OptionalActions::Now, &settings)?;
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> DriverError {
    let hint = match source.kind() {
        io::ErrorKind::NotFound => " (is the device plugged in?)",
        io::ErrorKind::PermissionDenied => " (is the exporter's user in the group that owns it, often dialout?)",
        _ => "",
    };
    DriverError::Connection { message: format!("open serial port {}: {source}{hint}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, wanted) in [
            ("/dev/ttyUSB0", Some(Port::Device("/dev/ttyUSB0".into()))),
            ("loop://", Some(Port::Loop)),
            ("socket://host:77", Some(Port::Socket("host".to_owned(), 77))),
            ("socket://[::1]:77/?logging=debug", Some(Port::Socket("::1".to_owned(), 77))),
            ("socket://host", None),
            ("socket://host:0", None),
            ("rfc2217://host:77", None),
            ("", None),
        ] {
            assert_eq!(Port::parse(url).ok(), wanted, "{url}");
        }
    }
}
