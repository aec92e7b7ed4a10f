//! Feeds `jumpstarter_auth::fuzzing::key_ring`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jumpstarter_auth::fuzzing::key_ring(data));
