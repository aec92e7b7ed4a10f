//! Files that a client hands to a driver, or takes from one.
//!
//! A call names such a file by a handle: a byte stream that the client holds open, or a URL that the exporter fetches
//! or fills by itself. Drivers turn handles into a [`Resource`] with [`Resources::open`], which undoes (or applies) the
//! compression that the client asked for.

mod detect;
mod disk;
mod encoding;
mod outgoing;
mod presigned;
mod registry;
mod resource;

pub use encoding::Encoding;
pub use registry::{Chunks, ClientStream, Outgoing, Resources};
pub use resource::{CHUNK, Resource};
