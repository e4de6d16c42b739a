//! What happened, row by row, and a digest of it that must be the same on every platform.

use std::fmt::Write;

/// One row; half a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// s.
    pub at_s: f64,
    /// First attempts and retries, events/s.
    pub offered_per_s: f64,
    /// Let in, events/s.
    pub admitted_per_s: f64,
    /// Shed by class: control, transactional, telemetry, events/s.
    pub shed_per_s: [f64; 3],
    /// Age of the oldest record by class, s; one topic has one age.
    pub lag_s: [f64; 3],
    /// The limit in effect, events/s: of the topic, or of the transactional one; none: no limit.
    pub limit_per_s: Option<f64>,
    /// What consumers can do, events/s.
    pub capacity_per_s: f64,
    /// Consumers that are there.
    pub consumers: u32,
    /// The loop's terms: p, i, d, u. 0 where another rule limits.
    pub terms: [f64; 4],
}

/// All rows.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In order of time.
    pub rows: Vec<Row>,
}

impl Trace {
    /// FNV-1a, 64 bits, over the bits of every number.
    pub fn digest(&self) -> u64 {
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bits: u64| {
            for byte in bits.to_le_bytes() {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for row in &self.rows {
            row.numbers().into_iter().for_each(|number| add(number.to_bits()));
        }
        digest
    }

    /// The digest and some rows as text: what a golden file holds.
    pub fn golden(&self, samples: usize) -> String {
        let mut text = format!("digest {:016x}\nrows {}\n", self.digest(), self.rows.len());
        let every = (self.rows.len() / samples.max(1)).max(1);
        for row in self.rows.iter().step_by(every) {
            let numbers = row.numbers().map(|number| number.to_string());
            writeln!(text, "{}", numbers.join(" ")).expect("a string takes everything");
        }
        text
    }
}

impl Row {
    fn numbers(&self) -> [f64; 16] {
        let [control, transactional, telemetry] = self.shed_per_s;
        let [lag_control, lag_transactional, lag_telemetry] = self.lag_s;
        let [p, i, d, u] = self.terms;
        [
            self.at_s,
            self.offered_per_s,
            self.admitted_per_s,
            control,
            transactional,
            telemetry,
            lag_control,
            lag_transactional,
            lag_telemetry,
            self.limit_per_s.unwrap_or(-1.0),
            self.capacity_per_s,
            f64::from(self.consumers),
            p,
            i,
            d,
            u,
        ]
    }
}
