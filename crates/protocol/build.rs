//! Compiles the `.proto` files without `protoc` and keeps the descriptor set for reflection.
use std::{env, fs, path::PathBuf};

const FILES: [&str; 7] = [
    "jumpstarter/v1/common.proto",
    "jumpstarter/v1/kubernetes.proto",
    "jumpstarter/v1/jumpstarter.proto",
    "jumpstarter/v1/router.proto",
    "jumpstarter/v1/telemetry.proto",
    "jumpstarter/client/v1/client.proto",
    "jumpstarter/router/v1/router_status.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by the compiler: `prost-types` would drop the options that are extensions, such as HTTP routes.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_well_known_types(false)
        .build_transport(true)
        .codec_path("crate::codec::SmallBuffers")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
