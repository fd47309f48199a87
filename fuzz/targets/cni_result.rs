//! Fuzz target: `decoders::cni_result` over libFuzzer's inputs.

#![no_main]

#[path = "../decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::cni_result(bytes));
