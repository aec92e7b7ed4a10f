//! Drivers: what an exporter can do with the devices on its bench.
//!
//! A driver answers unary calls, streams of values and byte streams by method name, and knows nothing of
//! gRPC. [`DriverTree`] builds the tree that an exporter configuration describes; [`Registry`] knows the
//! classes by the Python path that configurations name.

mod args;
mod composite;
mod driver;
mod flasher;
mod guard;
mod host;
mod keys;
mod log;
mod network;
mod opendal;
mod power;
mod process;
mod qemu;
mod registry;
mod remote;
mod serial;
mod serve;
mod shell;
pub mod storage;
mod tls;
mod tree;

pub use driver::{ByteStream, Driver, DriverError, DuplexStream, HostedResource, Value, ValueStream};
pub use host::{DriverHost, HostError, HostedEntry, HostedNode, HostedSession, HostedTree};
pub use log::{DriverLog, LogLevel, LogSink, NoLog, printable};
pub use registry::{Build, Built, Registry};
pub use tree::{DriverTree, NodeReport, TreeError};
