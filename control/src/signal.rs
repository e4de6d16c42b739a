//! What the loop holds at its setpoint. All signals are seconds, so that one set of gains has one unit.

/// The controlled variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signal {
    /// Backlog over measured capacity: what is left to wait. It does not freeze in a stall, and it does
    /// not stay high in recovery, as an age does.
    #[default]
    Drain,
    /// Age of the oldest record that is not applied.
    LagSeconds,
    /// 99th percentile of the database's answers.
    DownstreamP99,
    /// 99th percentile of the ingress's answers.
    IngressP99,
}

/// What the signals are made of, already made harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Records not yet applied.
    pub backlog: f64,
    /// Measured capacity, events/s.
    pub capacity_per_s: f64,
    /// Age of the oldest record, s.
    pub age_s: f64,
    /// p99 of the database, s.
    pub downstream_p99_s: f64,
    /// p99 of the ingress, s.
    pub ingress_p99_s: f64,
}

impl Measured {
    /// Drain time, s: how long what waits will take.
    pub fn drain_s(&self) -> f64 {
        if self.backlog <= 0.0 { 0.0 } else { self.backlog / self.capacity_per_s.max(1.0) }
    }
}

impl Signal {
    /// Its value, s.
    pub fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::Drain => measured.drain_s(),
            Self::LagSeconds => measured.age_s,
            Self::DownstreamP99 => measured.downstream_p99_s,
            Self::IngressP99 => measured.ingress_p99_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_time_is_backlog_over_capacity() {
        let measured = Measured { backlog: 500.0, capacity_per_s: 1000.0, ..Default::default() };
        assert_eq!(Signal::Drain.of(&measured).to_bits(), 0.5_f64.to_bits());
        let empty = Measured::default();
        assert_eq!(empty.drain_s().to_bits(), 0.0_f64.to_bits());
    }
}
