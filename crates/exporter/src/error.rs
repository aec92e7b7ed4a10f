//! Why an exporter cannot start or go on.
use jumpstarter_config::ConfigError;
use jumpstarter_drivers::TreeError;
use tonic::Status;

/// What ends an exporter that nobody asked to stop. The texts say what to change.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The configuration lacks what is needed to register.
    #[error("endpoint or token not set in exporter config: create it with `jmp admin create exporter NAME --out FILE`")]
    NotConfigured,
    /// A value of the configuration cannot be used.
    #[error("exporter config")]
    Config(#[source] ConfigError),
    /// A value of the configuration cannot be sent to the controller.
    #[error("exporter config: {0} has characters that cannot be sent; check it for line breaks")]
    Unsendable(&'static str),
    /// The driver tree cannot be built.
    #[error("build the driver tree")]
    Drivers(#[source] TreeError),
    /// The session of an exporter without a service cannot be set up.
    #[error("{0}")]
    SetUp(String),
    /// The port cannot be listened on.
    #[error("listen on {address}: {source}{}", port_hint(.source))]
    Listen {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("certificate of the listener")]
    Certificate(#[source] Box<jumpstarter_transport::TlsError>),
    /// The controller refuses this exporter.
    #[error("register exporter with controller {endpoint}: {} ({:?}){}", .status.message(), .status.code(), hint(.status))]
    Refused {
        /// Address of the controller.
        endpoint: String,
        /// Its answer.
        status: Box<Status>,
    },
}

fn hint(status: &Status) -> &'static str {
    use tonic::Code;
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            "; get a fresh config with `jmp admin import exporter NAME`, or check that the config belongs to this service"
        }
        Code::NotFound => "; create the exporter with `jmp admin create exporter NAME` first",
        _ => "",
    }
}

fn port_hint(err: &std::io::Error) -> &'static str {
    match err.kind() {
        std::io::ErrorKind::AddrInUse => "; another program listens there: stop it, or choose another port",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one",
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}
