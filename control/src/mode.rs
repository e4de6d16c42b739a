//! Modes: normal, aggressive, survival, read-only. They follow the loop, they do not drive it; what a
//! mode admits is configuration.

use crate::level::Level;
use crate::number::amount;
use crate::profile::Overflow;
use crate::tick::Output;
use crate::time::Nanos;

/// A mode, mildest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// All levels.
    #[default]
    Normal,
    /// Something is being shed: told to the applications around, nothing more by default.
    Aggressive,
    /// Excess is closed.
    Survival,
    /// Only what is marked essential.
    ReadOnly,
}

/// What the rules look at. NaN and negatives count as 0, so that no broken figure changes a mode.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// The worst wait over all classes, as [`wait_s`] counts it.
    pub wait_s: f64,
    /// Share of all offered events that was shed.
    pub shed_share: f64,
    /// Share of in-contract transactional events that was shed.
    pub in_contract_shed_share: f64,
    /// Share of partitions whose owner was not heard for 3 s.
    pub stale_share: f64,
    /// Share of writers whose breaker is open and whose classes are not being absorbed.
    pub writers_gone_share: f64,
}

/// The wait that counts: all of it where the class is bounded; where it is absorbed, what goes beyond
/// the budget. An absorbed outage or burst is no reason for a mode.
pub fn wait_s(overflow: Overflow, output: &Output) -> f64 {
    match overflow {
        Overflow::Bound | Overflow::Shed => output.drain_s,
        Overflow::Absorb => match output.reason {
            crate::tick::Reason::Limiting => {
                (output.terms.signal_s - output.terms.setpoint_s).max(0.0)
            }
            _ => 0.0,
        },
    }
}

/// When a mode is entered.
struct Rule {
    mode: Mode,
    enter: fn(&Figures) -> bool,
    enter_after_s: f64,
}

/// Entered when a rule held for its time. Two rules may lead to one mode.
const ENTER: [Rule; 7] = [
    Rule { mode: Mode::Aggressive, enter: |now| now.shed_share > 0.0, enter_after_s: 2.0 },
    Rule { mode: Mode::Aggressive, enter: |now| now.wait_s > 1.0, enter_after_s: 5.0 },
    Rule {
        mode: Mode::Survival,
        enter: |now| now.in_contract_shed_share > 0.01,
        enter_after_s: 10.0,
    },
    Rule { mode: Mode::Survival, enter: |now| now.wait_s > 15.0, enter_after_s: 5.0 },
    Rule { mode: Mode::Survival, enter: |now| now.stale_share > 0.25, enter_after_s: 0.0 },
    Rule { mode: Mode::ReadOnly, enter: |now| now.writers_gone_share >= 0.5, enter_after_s: 0.0 },
    Rule { mode: Mode::ReadOnly, enter: |now| now.wait_s > 60.0, enter_after_s: 2.0 },
];

/// May the mode be left, and after how long.
fn leave(mode: Mode, now: &Figures) -> (bool, f64) {
    match mode {
        Mode::Normal => (false, 0.0),
        Mode::Aggressive => (now.wait_s < 0.5 && now.shed_share <= 0.0, 30.0),
        Mode::Survival => {
            let calm = now.wait_s < 5.0 && now.in_contract_shed_share <= 0.01;
            (calm && now.stale_share <= 0.25, 60.0)
        }
        Mode::ReadOnly => (now.wait_s < 15.0 && now.writers_gone_share < 0.5, 60.0),
    }
}

/// An operator's word, which ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The mode.
    pub mode: Mode,
    /// Until when.
    pub until: Nanos,
}

/// The modes' state.
#[derive(Clone, Debug, Default)]
pub struct Modes {
    mode: Mode,
    pin: Option<Pin>,
    held: [Option<Nanos>; ENTER.len()],
    calm_since: Option<Nanos>,
}

impl Modes {
    /// Sets or, with `None`, removes the operator's pin.
    pub fn pin(&mut self, pin: Option<Pin>) {
        self.pin = pin;
    }

    /// The mode by rule and pin. The harshest mode whose rule held for its time is entered at once; one
    /// is left for the next milder one. The rules go on under a pin, so that its end changes to what
    /// they say.
    pub fn step(&mut self, figures: &Figures, now: Nanos) -> Mode {
        let figures = figures.sane();
        let mut entered = Mode::Normal;
        for (rule, held) in ENTER.iter().zip(&mut self.held) {
            *held = (rule.enter)(&figures).then(|| held.filter(|at| *at <= now).unwrap_or(now));
            if held.is_some_and(|since| now.seconds_since(since) >= rule.enter_after_s) {
                entered = entered.max(rule.mode);
            }
        }
        let (may_leave, after_s) = leave(self.mode, &figures);
        let calm_since = self.calm_since.filter(|at| *at <= now).unwrap_or(now);
        self.calm_since = may_leave.then_some(calm_since);
        if entered > self.mode {
            (self.mode, self.calm_since) = (entered, None);
        } else if may_leave && now.seconds_since(calm_since) >= after_s {
            self.mode = match self.mode {
                Mode::ReadOnly => Mode::Survival,
                Mode::Survival => Mode::Aggressive,
                Mode::Aggressive | Mode::Normal => Mode::Normal,
            };
            self.calm_since = None;
        }
        self.pin = self.pin.filter(|pin| now < pin.until);
        self.pin.map_or(self.mode, |pin| pin.mode)
    }
}

impl Figures {
    fn sane(&self) -> Self {
        Self {
            wait_s: amount(self.wait_s, 0.0),
            shed_share: amount(self.shed_share, 0.0),
            in_contract_shed_share: amount(self.in_contract_shed_share, 0.0),
            stale_share: amount(self.stale_share, 0.0),
            writers_gone_share: amount(self.writers_gone_share, 0.0),
        }
    }
}

/// What a mode admits by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// The first level that is closed; `None`: all are open.
    pub closed_from: Option<Level>,
    /// What share of the last open level's events is let in before the bucket is asked.
    pub last_level_share: f64,
    /// On all limits.
    pub limit_factor: f64,
    /// Only what is marked essential is let in.
    pub essential_only: bool,
}

impl Mode {
    /// All of them, mildest first; the position is the index everywhere.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Aggressive, Self::Survival, Self::ReadOnly];

    /// Its name in configuration, metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Aggressive => "aggressive",
            Self::Survival => "survival",
            Self::ReadOnly => "read-only",
        }
    }

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// The defaults.
    pub const fn effect(self) -> Effect {
        let open = Effect {
            closed_from: None,
            last_level_share: 1.0,
            limit_factor: 1.0,
            essential_only: false,
        };
        match self {
            // The loop and the fair parts shed already, each where it must: sampling everywhere would
            // take from partitions that have room.
            Self::Normal | Self::Aggressive => open,
            Self::Survival => Effect { closed_from: Some(Level::ALL[3]), ..open },
            Self::ReadOnly => {
                Effect { closed_from: Some(Level::ALL[3]), essential_only: true, ..open }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(seconds * 1000)
    }

    /// Feeds the same figures every second, and returns the mode at the end.
    fn feed(modes: &mut Modes, figures: Figures, from: u64, to: u64) -> Mode {
        (from..=to).map(|second| modes.step(&figures, at(second))).last().expect("seconds")
    }

    const CALM: Figures = Figures {
        wait_s: 0.1,
        shed_share: 0.0,
        in_contract_shed_share: 0.0,
        stale_share: 0.0,
        writers_gone_share: 0.0,
    };

    #[test]
    fn each_rule_enters_after_its_time_and_not_before() {
        let check = |figures: Figures, after: u64, mode: Mode, milder: Mode| {
            let mut modes = Modes::default();
            if after > 0 {
                assert_eq!(feed(&mut modes, figures, 100, 100 + after - 1), milder, "{figures:?}");
            }
            assert_eq!(modes.step(&figures, at(100 + after)), mode, "{figures:?}");
        };
        check(Figures { shed_share: 0.001, ..CALM }, 2, Mode::Aggressive, Mode::Normal);
        check(Figures { wait_s: 1.1, ..CALM }, 5, Mode::Aggressive, Mode::Normal);
        check(Figures { in_contract_shed_share: 0.02, ..CALM }, 10, Mode::Survival, Mode::Normal);
        check(Figures { wait_s: 16.0, ..CALM }, 5, Mode::Survival, Mode::Normal);
        check(Figures { stale_share: 0.3, ..CALM }, 0, Mode::Survival, Mode::Normal);
        check(Figures { writers_gone_share: 0.5, ..CALM }, 0, Mode::ReadOnly, Mode::Normal);
        check(Figures { wait_s: 61.0, ..CALM }, 2, Mode::ReadOnly, Mode::Normal);
    }

    #[test]
    fn it_comes_back_one_mode_at_a_time() {
        let mut modes = Modes::default();
        let waits = Figures { wait_s: 90.0, ..CALM };
        assert_eq!(feed(&mut modes, waits, 0, 2), Mode::ReadOnly);
        assert_eq!(feed(&mut modes, CALM, 1, 60), Mode::ReadOnly);
        assert_eq!(modes.step(&CALM, at(61)), Mode::Survival);
        assert_eq!(feed(&mut modes, CALM, 62, 122), Mode::Aggressive);
        assert_eq!(feed(&mut modes, CALM, 123, 153), Mode::Normal);
    }

    #[test]
    fn a_relapse_starts_the_calm_again() {
        let mut modes = Modes::default();
        feed(&mut modes, Figures { shed_share: 0.1, ..CALM }, 0, 3);
        feed(&mut modes, CALM, 4, 30);
        modes.step(&Figures { wait_s: 0.7, ..CALM }, at(31));
        assert_eq!(feed(&mut modes, CALM, 32, 61), Mode::Aggressive);
        assert_eq!(modes.step(&CALM, at(62)), Mode::Normal);
    }

    #[test]
    fn a_pin_holds_until_its_time_and_the_rules_go_on_below() {
        let mut modes = Modes::default();
        modes.pin(Some(Pin { mode: Mode::ReadOnly, until: at(10) }));
        assert_eq!(feed(&mut modes, Figures { shed_share: 0.1, ..CALM }, 0, 9), Mode::ReadOnly);
        assert_eq!(modes.step(&CALM, at(10)), Mode::Aggressive);
        modes.pin(Some(Pin { mode: Mode::Normal, until: at(20) }));
        assert_eq!(feed(&mut modes, Figures { wait_s: 90.0, ..CALM }, 11, 13), Mode::Normal);
        modes.pin(None);
        assert_eq!(modes.step(&CALM, at(14)), Mode::ReadOnly);
    }

    #[test]
    fn broken_figures_and_clocks_change_nothing() {
        let nan = f64::NAN;
        let broken = Figures {
            wait_s: nan,
            shed_share: f64::NEG_INFINITY,
            in_contract_shed_share: nan,
            stale_share: nan,
            writers_gone_share: -1.0,
        };
        let mut modes = Modes::default();
        for now in [Nanos(9), Nanos(0), Nanos(u64::MAX), Nanos(3)] {
            assert_eq!(modes.step(&broken, now), Mode::Normal);
        }
        // Set back by an hour: the time that a rule held starts again.
        let shed = Figures { shed_share: 0.1, ..CALM };
        modes.step(&shed, at(3600));
        assert_eq!(modes.step(&shed, at(1)), Mode::Normal);
        assert_eq!(modes.step(&shed, at(3)), Mode::Aggressive);
    }

    #[test]
    fn an_absorbed_wait_counts_beyond_its_budget_only() {
        use crate::tick::{Inputs, PartitionLoop};
        let measured = crate::signal::Measured {
            backlog: 20_000.0,
            capacity_per_s: 1000.0,
            ..Default::default()
        };
        let inputs = Inputs { measured, offered_per_s: 5000.0, ..Inputs::default() };
        let policy = crate::profile::Policy::default();
        let output = PartitionLoop::new(policy, 1000.0).step(&inputs, at(1));
        assert!((wait_s(Overflow::Absorb, &output) - 5.0).abs() < 1e-9);
        assert!((wait_s(Overflow::Bound, &output) - 20.0).abs() < 1e-9);
    }
}
