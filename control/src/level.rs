//! Who gives way first: class and colour make a level, and a level has its tolerance in the bucket.

use crate::number::{amount, weight};

/// An event's class, as the loop sees it. The ingress maps its own to it, one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Never shed inside its cap.
    Control,
    /// Shed late.
    Transactional,
    /// Shed first.
    Telemetry,
}

impl Class {
    /// All of them, highest priority first; the position is the index everywhere.
    pub const ALL: [Self; 3] = [Self::Control, Self::Transactional, Self::Telemetry];
}

/// Inside the tenant's contract or beyond it (RFC 2698's committed and excess, without yellow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Colour {
    /// Within the contracted rate.
    InContract,
    /// Beyond it: served where there is room.
    Excess,
}

/// What is given up first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShedOrder {
    /// Excess before anybody's contract, whatever the class.
    #[default]
    ContractFirst,
    /// Telemetry before transactional, whatever the contract.
    ClassFirst,
}

/// A level; 0 goes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them, the one that is shed last first.
    pub const ALL: [Self; Self::COUNT] = [Self(0), Self(1), Self(2), Self(3), Self(4)];

    /// The level of an event. Beyond its cap, control is excess like everything else: otherwise it
    /// would be the way round every limit.
    pub const fn of(class: Class, colour: Colour, order: ShedOrder) -> Self {
        match (class, colour, order) {
            (Class::Control, Colour::InContract, _) => Self(0),
            (Class::Transactional, Colour::InContract, _) => Self(1),
            (Class::Telemetry, Colour::InContract, ShedOrder::ContractFirst) => Self(2),
            (Class::Transactional, Colour::Excess, ShedOrder::ClassFirst) => Self(2),
            (Class::Control, Colour::Excess, _) => Self(3),
            (Class::Transactional, Colour::Excess, ShedOrder::ContractFirst) => Self(3),
            (Class::Telemetry, Colour::InContract, ShedOrder::ClassFirst) => Self(3),
            (Class::Telemetry, Colour::Excess, _) => Self(4),
        }
    }

    /// Its place in a table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// How far ahead of the clock the bucket may be for this level, s. Priority comes from this alone:
    /// with equal tolerances every level gets the same share. The lowest is the bucket's depth that a
    /// full load sees, 0.1 s.
    pub const fn tolerance_s(self) -> Option<f64> {
        match self.0 {
            0 => None,
            1 => Some(0.25),
            2 => Some(0.20),
            3 => Some(0.15),
            _ => Some(0.10),
        }
    }

    /// The least depth, events: 0.1 s of a replica's part of a slow partition is an event or two, and
    /// what comes at random would find the bucket full half of the time.
    pub const fn tolerance_events(self) -> u32 {
        match self.0 {
            0 | 1 => 14,
            2 => 12,
            3 => 10,
            _ => 8,
        }
    }
}

/// Splits a budget among the levels, strictly in order, with a floor for the last one; fluid, for
/// reports of what a limit will do and for the simulation. `demands` and the result are by level.
pub fn split(demands: &[f64; Level::COUNT], budget: f64, last_floor: f64) -> [f64; Level::COUNT] {
    let mut admitted = [0.0; Level::COUNT];
    let mut left = amount(budget, 0.0);
    let demand = |level: usize| amount(demands[level], 0.0);
    admitted[0] = demand(0);
    left = (left - admitted[0]).max(0.0);
    for level in [1, 2] {
        admitted[level] = demand(level).min(left);
        left -= admitted[level];
    }
    let floor = demand(4).min(amount(last_floor, 0.0) * left);
    admitted[3] = demand(3).min(left - floor);
    admitted[4] = demand(4).min(left - admitted[3]);
    admitted
}

/// How much of a level's demand was shed lately, for the rules of the modes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShedShare {
    offered: f64,
    shed: f64,
}

impl ShedShare {
    /// Smoothing time, s.
    const OVER_S: f64 = 2.0;

    /// Counts what was offered and shed in `dt_s`.
    pub fn count(&mut self, offered: f64, shed: f64, dt_s: f64) {
        let weight = weight(dt_s, Self::OVER_S);
        self.offered += weight * (amount(offered, self.offered) - self.offered);
        self.shed += weight * (amount(shed, self.shed) - self.shed);
    }

    /// The share, in `[0, 1]`.
    pub fn share(&self) -> f64 {
        if self.offered > 0.0 { (self.shed / self.offered).clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_shedding_is_the_configured_one() {
        use Class::{Control, Telemetry, Transactional};
        use Colour::{Excess, InContract};
        let check = |order, expected: [(Class, Colour); 5]| {
            for pair in expected.windows(2) {
                let [first, second] = [pair[0], pair[1]];
                let level = |(class, colour)| Level::of(class, colour, order);
                assert!(level(first) < level(second), "{first:?} before {second:?} in {order:?}");
            }
        };
        check(
            ShedOrder::ContractFirst,
            [
                (Control, InContract),
                (Transactional, InContract),
                (Telemetry, InContract),
                (Transactional, Excess),
                (Telemetry, Excess),
            ],
        );
        check(
            ShedOrder::ClassFirst,
            [
                (Control, InContract),
                (Transactional, InContract),
                (Transactional, Excess),
                (Telemetry, InContract),
                (Telemetry, Excess),
            ],
        );
    }

    #[test]
    fn tolerances_fall_with_the_level() {
        let tolerances = Level::ALL.map(|level| level.tolerance_s().unwrap_or(f64::INFINITY));
        assert!(tolerances.windows(2).all(|pair| pair[0] > pair[1]), "{tolerances:?}");
    }

    #[test]
    fn a_level_is_cut_only_when_all_below_are() {
        let demands = [10.0, 20.0, 30.0, 40.0, 50.0];
        let check = |budget: f64, expected: [f64; 5]| {
            let got = split(&demands, budget, 0.0);
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?}");
        };
        check(1000.0, demands);
        check(110.0, [10.0, 20.0, 30.0, 40.0, 10.0]);
        check(65.0, [10.0, 20.0, 30.0, 5.0, 0.0]);
        check(15.0, [10.0, 5.0, 0.0, 0.0, 0.0]);
        check(f64::NAN, [10.0, 0.0, 0.0, 0.0, 0.0]);
        let kept = split(&demands, 80.0, 0.05);
        assert!((kept[4] - 1.0).abs() < 1e-9 && (kept[3] - 19.0).abs() < 1e-9, "{kept:?}");
    }
}
