//! libFuzzer's entry: see `fuzz::verdict`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::verdict::check(input));
