//! libFuzzer's entry: see `fuzz::decompression`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::decompression::check(input));
