//! Benchmarks of the whole way, each beside a reference measured in the same run.
//!
//! Figures of different machines cannot be compared, ratios can. Every bench prints a table and
//! writes `target/bench/NAME.json` through [`report::Report`].

pub mod cpu;
pub mod drive;
pub mod report;
pub mod way;
