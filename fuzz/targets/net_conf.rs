//! Fuzz target: `decoders::net_conf` over libFuzzer's inputs.

#![no_main]

#[path = "../decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::net_conf(bytes));
