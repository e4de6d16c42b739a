//! libFuzzer's entry: see `fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::request::check(input));
