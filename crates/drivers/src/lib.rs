//! Drivers: what an exporter can do with the devices on its bench.
//!
//! A driver answers unary calls, streams of values and byte streams by method name, and knows nothing of
//! gRPC. [`DriverTree`] builds the tree that an exporter configuration describes; [`Registry`] knows the
//! classes by the Python path that configurations name.

mod composite;
mod driver;
mod log;
mod network;
mod power;
mod registry;
mod tree;

pub use driver::{ByteStream, Driver, DriverError, DuplexStream, Value, ValueStream};
pub use log::{DriverLog, LogLevel, LogSink, NoLog};
pub use registry::{Build, Registry};
pub use tree::{DriverTree, NodeReport, TreeError};
