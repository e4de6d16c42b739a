//! How many consumers there should be, from offered demand and backlog.
//!
//! Not from lag: a limiter that holds the lag down keeps a lag trigger from firing, and then sheds for
//! as long as the load lasts. The lag trigger ships beside it, and the larger wins.

use crate::number::amount;
use crate::time::Nanos;

/// How consumers are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleConfig {
    /// Never fewer; an operator raises it before a planned event.
    pub consumers_min: u32,
    /// Never more; at most the partitions.
    pub consumers_max: u32,
    /// The backlog should be gone after so long, s.
    pub backlog_gone_s: f64,
    /// A consumer is planned with this share of its capacity.
    pub used_share: f64,
    /// Down only when less than this share was needed...
    pub down_below: f64,
    /// ...for so long, s.
    pub down_after_s: f64,
    /// At most one step down in so long, s.
    pub down_step_s: f64,
    /// A step up is judged after so long, s.
    pub judged_after_s: f64,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self {
            consumers_min: 1,
            consumers_max: 96,
            backlog_gone_s: 60.0,
            used_share: 0.85,
            down_below: 0.5,
            down_after_s: 300.0,
            down_step_s: 60.0,
            judged_after_s: 60.0,
        }
    }
}

/// What the rule sees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// First attempts, shed ones included, events/s.
    pub offered_per_s: f64,
    /// Sum of the backlogs, events.
    pub backlog: f64,
    /// What one consumer does, events/s.
    pub unit_per_s: f64,
    /// What all of them did, events/s.
    pub processed_per_s: f64,
    /// Consumers that are there.
    pub ready: u32,
    /// Consumers that are there or on their way.
    pub ordered: u32,
}

/// The rule's state.
#[derive(Clone, Debug)]
pub struct Scaler {
    config: ScaleConfig,
    /// Since when fewer would do.
    low_since: Option<Nanos>,
    last_down: Option<Nanos>,
    /// The last step up: when it was there, with how many, and what was processed before it.
    step_up: Option<StepUp>,
    /// More consumers made it worse: not above this number until the need is gone.
    held_at: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct StepUp {
    from: u32,
    to: u32,
    processed_per_s: f64,
    ready_at: Option<Nanos>,
}

impl Scaler {
    /// Starts without a past.
    pub fn new(config: ScaleConfig) -> Self {
        Self { config, low_since: None, last_down: None, step_up: None, held_at: None }
    }

    /// How many the load asks for, without memory and bounds.
    pub fn wanted(&self, load: &Load) -> u32 {
        let unit = amount(load.unit_per_s, 1.0).max(1.0) * self.config.used_share;
        let rate = amount(load.offered_per_s, 0.0)
            + amount(load.backlog, 0.0) / self.config.backlog_gone_s.max(1.0);
        whole_above(rate / unit)
    }

    /// How many there should be.
    pub fn step(&mut self, load: &Load, now: Nanos) -> u32 {
        let ScaleConfig { consumers_min, consumers_max, .. } = self.config;
        let wanted = self.wanted(load).clamp(consumers_min, consumers_max.max(consumers_min));
        self.judge(load, now);
        if wanted > load.ordered {
            self.low_since = None;
            let most = self.held_at.map_or(wanted, |held| wanted.min(held.max(load.ordered)));
            if most > load.ordered && self.step_up.is_none() {
                self.step_up = Some(StepUp {
                    from: load.ordered,
                    to: most,
                    processed_per_s: amount(load.processed_per_s, 0.0),
                    ready_at: None,
                });
            }
            return most;
        }
        self.down(load, wanted, now)
    }

    fn down(&mut self, load: &Load, wanted: u32, now: Nanos) -> u32 {
        let needed = f64::from(self.wanted(load)) / f64::from(load.ordered.max(1));
        if wanted >= load.ordered || needed >= self.config.down_below {
            self.low_since = None;
            return load.ordered;
        }
        let since = *self.low_since.get_or_insert(now);
        let rested = self
            .last_down
            .is_none_or(|at| now.seconds_since(at) >= self.config.down_step_s || at > now);
        if now.seconds_since(since) < self.config.down_after_s || !rested {
            return load.ordered;
        }
        self.last_down = Some(now);
        load.ordered - 1
    }

    /// When throughput is lower with more consumers, the database is the limit, and still more would
    /// make it worse.
    fn judge(&mut self, load: &Load, now: Nanos) {
        let wanted = self.wanted(load);
        if self.held_at.is_some() && wanted <= load.ready {
            self.held_at = None;
        }
        let Some(step) = &mut self.step_up else { return };
        if load.ready < step.to {
            return;
        }
        let ready_at = *step.ready_at.get_or_insert(now);
        if now.seconds_since(ready_at) < self.config.judged_after_s {
            return;
        }
        if wanted > load.ready && amount(load.processed_per_s, 0.0) < step.processed_per_s {
            self.held_at = Some(step.from.max(self.config.consumers_min));
        }
        self.step_up = None;
    }
}

/// The least whole number that is not below; without the platform's `ceil`.
fn whole_above(value: f64) -> u32 {
    let whole = value as u32;
    if f64::from(whole) < value { whole.saturating_add(1) } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        offered_per_s: 8_000.0,
        backlog: 0.0,
        unit_per_s: 20_000.0,
        processed_per_s: 8_000.0,
        ready: 1,
        ordered: 1,
    };

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(seconds * 1000)
    }

    fn scaler() -> Scaler {
        Scaler::new(ScaleConfig { consumers_max: 6, ..ScaleConfig::default() })
    }

    #[test]
    fn up_at_once_by_offered_load_and_backlog() {
        let check = |load: Load, expected: u32| {
            assert_eq!(scaler().step(&load, at(0)), expected, "{load:?}");
        };
        check(LOAD, 1);
        check(Load { offered_per_s: 96_000.0, ..LOAD }, 6);
        check(Load { offered_per_s: 30_000.0, ..LOAD }, 2);
        check(Load { backlog: 1_500_000.0, ..LOAD }, 2);
        check(Load { offered_per_s: f64::NAN, backlog: f64::INFINITY, ..LOAD }, 1);
        check(Load { unit_per_s: 0.0, ..LOAD }, 6);
    }

    #[test]
    fn down_late_and_one_by_one() {
        let mut scaler = scaler();
        let load = |ordered| Load { ordered, ready: ordered, ..LOAD };
        assert_eq!(scaler.step(&load(6), at(0)), 6);
        assert_eq!(scaler.step(&load(6), at(299)), 6);
        assert_eq!(scaler.step(&load(6), at(300)), 5);
        assert_eq!(scaler.step(&load(5), at(330)), 5);
        assert_eq!(scaler.step(&load(5), at(360)), 4);
        // A peak in between starts the wait again.
        assert_eq!(scaler.step(&Load { offered_per_s: 60_000.0, ..load(4) }, at(361)), 4);
        assert_eq!(scaler.step(&load(4), at(600)), 4);
    }

    #[test]
    fn where_more_made_it_worse_no_more_come() {
        let mut scaler = scaler();
        let busy = |ready, ordered, processed_per_s| Load {
            offered_per_s: 96_000.0,
            processed_per_s,
            ready,
            ordered,
            ..LOAD
        };
        assert_eq!(scaler.step(&busy(1, 1, 20_000.0), at(0)), 6);
        assert_eq!(scaler.step(&Load { unit_per_s: 2_000.0, ..busy(6, 6, 12_000.0) }, at(40)), 6);
        scaler.step(&Load { unit_per_s: 2_000.0, ..busy(6, 6, 12_000.0) }, at(101));
        // The operator takes four away: they are not ordered again while the need lasts.
        assert_eq!(scaler.step(&busy(2, 2, 18_000.0), at(102)), 2);
        scaler.step(&Load { ready: 2, ordered: 2, ..LOAD }, at(200));
        assert_eq!(scaler.step(&busy(2, 2, 18_000.0), at(300)), 6);
    }

    #[test]
    fn the_floor_is_the_operator_s() {
        let config = ScaleConfig { consumers_min: 3, ..ScaleConfig::default() };
        assert_eq!(Scaler::new(config).step(&LOAD, at(0)), 3);
    }
}
