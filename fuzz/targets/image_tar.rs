//! Fuzz target: `decoders::tar` of wharf-image over libFuzzer's inputs.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wharf_image::decoders::tar(bytes));
