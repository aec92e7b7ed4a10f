//! The input as it is, on a whole connection of the router.

#![no_main]
#![allow(dead_code, reason = "each target uses a part of it")]

#[path = "../../crates/router/tests/robustness/fuzzing.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::connection(data));
