//! Feeds `jumpstarter_model::fuzzing::identity`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jumpstarter_model::fuzzing::identity(data));
