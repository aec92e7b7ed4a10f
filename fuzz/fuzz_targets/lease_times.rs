//! Feeds `jumpstarter_model::fuzzing::lease_times`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jumpstarter_model::fuzzing::lease_times(data));
