//! Fuzzing of what reads bytes from outside: a running ingress on the log in memory, posted to over
//! loopback, through the same door as everybody.
//!
//! Each target is a function `check(input)` that panics where a property does not hold: [`verdict`]
//! (a body's verdict is that of `serde_json` and `jsonschema`), [`request`] (raw bytes: never two
//! answers to one request, the books balance), [`decompression`] (caps hold, and a coding changes no
//! verdict). libFuzzer calls them (`cargo xtask fuzz`), and a test plays the kept corpus. An input
//! that once failed belongs into the corpus.

pub mod answers;
pub mod decompression;
pub mod framing;
pub mod request;
pub mod server;
pub mod verdict;
