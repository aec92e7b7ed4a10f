//! Feeds `jumpstarter_model::fuzzing::resource_name`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jumpstarter_model::fuzzing::resource_name(data));
