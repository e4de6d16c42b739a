//! Benchmarks of the whole way, each beside a reference measured in the same run.
//!
//! Figures of different machines cannot be compared, ratios can. Every bench prints a table and
//! writes `target/bench/NAME.json` through [`report::Report`].

pub mod consumer;
pub mod control;
pub mod cpu;
pub mod exposition;
pub mod generator;
pub mod histogram;
pub mod ingress;
pub mod report;
pub mod template;
pub mod way;
pub mod wire;
