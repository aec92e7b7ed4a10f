//! The scanner of message borders, against a reader that copies.

#![no_main]
#![allow(dead_code, reason = "each target uses a part of it")]

#[path = "../../crates/router/tests/robustness/fuzzing.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::scanner(data));
