#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jumpstarter_cluster_config::fuzzing::config_map(data));
