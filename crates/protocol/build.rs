//! Compiles the `.proto` files without `protoc` and keeps the descriptor set for reflection.
use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 6] = [
    "jumpstarter/v1/common.proto",
    "jumpstarter/v1/kubernetes.proto",
    "jumpstarter/v1/jumpstarter.proto",
    "jumpstarter/v1/router.proto",
    "jumpstarter/v1/telemetry.proto",
    "jumpstarter/client/v1/client.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_well_known_types(false)
        .build_transport(true)
        .compile_fds(descriptors)?;
    Ok(())
}
