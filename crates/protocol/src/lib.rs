//! The wire: messages and services of the Jumpstarter protocol, generated from our own `.proto` files.
//!
//! Field for field those of the released Python package `jumpstarter-protocol` (a test compares the
//! descriptors); what we add is optional and carries tag numbers from 1001 up.

pub mod codec;
pub mod value;

/// Package `jumpstarter.v1`: controller, exporter, router and telemetry services.
#[allow(missing_docs, clippy::pedantic, clippy::allow_attributes_without_reason)]
pub mod v1 {
    tonic::include_proto!("jumpstarter.v1");
}

/// Package `jumpstarter.client.v1`: the service that people and tools use.
pub mod client {
    /// Version 1.
    #[allow(missing_docs, clippy::pedantic, clippy::allow_attributes_without_reason)]
    pub mod v1 {
        tonic::include_proto!("jumpstarter.client.v1");
    }
}

/// Package `jumpstarter.router.v1`: what our routers tell the controller of themselves; nobody else has it.
pub mod router {
    /// Version 1.
    #[allow(missing_docs, clippy::pedantic, clippy::allow_attributes_without_reason)]
    pub mod v1 {
        tonic::include_proto!("jumpstarter.router.v1");
    }
}

#[allow(missing_docs, clippy::pedantic, clippy::allow_attributes_without_reason, unreachable_pub, dead_code)]
mod google {
    pub mod api {
        tonic::include_proto!("google.api");
    }
}

/// The compiled descriptor set of every file, for reflection and gRPC-JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
