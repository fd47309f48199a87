//! Fuzz target: `frame` of frames.rs over libFuzzer's inputs.

#![no_main]

#[path = "../frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frames::frame(bytes));
