//! Feeds `jumpstarter_auth::fuzzing::jwks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jumpstarter_auth::fuzzing::jwks(data));
