//! What an ingress replica does when nobody tells it the limit: leader → local → lease → floor.
//!
//! Simulated with the controller away for 120 s, the loop on the last reports kept 97 % of goodput;
//! holding the last limit kept 61 %, and opening the gate let the lag grow for as long as it lasted.

use crate::number::amount;
use crate::profile::Overflow;
use crate::tick::{Output, Reason};

/// A published limit counts for so long, s.
pub const LIMIT_TTL_S: f64 = 3.0;
/// A replica's own loop aims at this share of the setpoint: it sees older reports than the owner, and
/// overshoots by as much.
pub const LOCAL_SETPOINT_SHARE: f64 = 0.8;
/// With no word from anybody the last limit is held so long, s.
const HOLD_S: f64 = 10.0;
/// And then goes to its safe value over this time, s.
const DECAY_S: f64 = 60.0;
/// The safe value's share of the last known capacity.
const SAFE_SHARE: f64 = 0.5;

/// Where the limit in effect comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The owner's own, fresh.
    Leader,
    /// This replica's run of the same loop on the last reports.
    Local,
    /// The last limit, running out.
    Lease,
    /// The least that is kept.
    Floor,
}

impl Source {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Local => "local",
            Self::Lease => "lease",
            Self::Floor => "floor",
        }
    }
}

/// What a replica knows of one limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The owner's last limit; `None`: it said there is none.
    pub leader_per_s: Option<f64>,
    /// How long ago it was computed, s.
    pub leader_age_s: f64,
    /// What the replica's own loop says: on fresh reports, or for an owner that is gone. `None`: no
    /// owner at all is heard, so it is our own view that is gone.
    pub local: Option<Output>,
    /// The last capacity known, events/s.
    pub capacity_per_s: f64,
    /// What was let in before the silence, events/s.
    pub admitted_per_s: f64,
    /// How long nobody was heard, s.
    pub silent_s: f64,
    /// What the class's policy does with what capacity does not serve.
    pub overflow: Overflow,
}

/// The limit in effect, for all replicas together, and where it comes from.
pub fn decide(view: &View) -> (Option<f64>, Source) {
    if amount(view.leader_age_s, f64::INFINITY) <= LIMIT_TTL_S {
        return (view.leader_per_s, Source::Leader);
    }
    if let Some(local) = &view.local {
        let source = if local.reason == Reason::Floor { Source::Floor } else { Source::Local };
        return (local.limit_per_s, source);
    }
    let silent_s = amount(view.silent_s, f64::INFINITY);
    if silent_s <= HOLD_S {
        return (view.leader_per_s, Source::Lease);
    }
    let capacity = amount(view.capacity_per_s, 0.0);
    let admitted = amount(view.admitted_per_s, 0.0);
    let from = view.leader_per_s.map_or(admitted.max(capacity), |limit| amount(limit, 0.0));
    let safe = match view.overflow {
        // The log takes what capacity may not serve: half of what was, however little capacity is.
        Overflow::Absorb => from * SAFE_SHARE,
        Overflow::Bound | Overflow::Shed => from.min(capacity * SAFE_SHARE),
    };
    let gone = (silent_s - HOLD_S) / DECAY_S;
    if gone >= 1.0 {
        return (Some(safe), Source::Floor);
    }
    (Some(from + (safe - from) * gone), Source::Lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pid::Terms;

    const VIEW: View = View {
        leader_per_s: Some(1000.0),
        leader_age_s: 0.5,
        local: None,
        capacity_per_s: 900.0,
        admitted_per_s: 800.0,
        silent_s: 0.0,
        overflow: Overflow::Bound,
    };

    fn local(limit_per_s: f64, reason: Reason) -> Option<Output> {
        Some(Output {
            limit_per_s: Some(limit_per_s),
            reason,
            terms: Terms::default(),
            drain_s: 0.0,
            excused_s: 0.0,
            capacity_per_s: 900.0,
            inputs_replaced: 0,
            slewing: false,
        })
    }

    #[test]
    fn each_step_of_the_ladder() {
        let silent = |silent_s| View { leader_age_s: silent_s, silent_s, ..VIEW };
        let check = |view: View, limit: f64, source: Source| {
            let (got, from) = decide(&view);
            let got = got.expect("limited");
            assert!((got - limit).abs() < 1e-9 && from == source, "{view:?}: {got} {from:?}");
        };
        check(VIEW, 1000.0, Source::Leader);
        check(View { local: local(700.0, Reason::Limiting), ..silent(4.0) }, 700.0, Source::Local);
        check(View { local: local(45.0, Reason::Floor), ..silent(4.0) }, 45.0, Source::Floor);
        check(silent(9.0), 1000.0, Source::Lease);
        check(silent(40.0), 725.0, Source::Lease);
        check(silent(100.0), 450.0, Source::Floor);
        let absorbing = View { overflow: Overflow::Absorb, ..silent(100.0) };
        check(absorbing, 500.0, Source::Floor);
        check(View { leader_per_s: None, ..absorbing }, 450.0, Source::Floor);
        check(View { leader_age_s: f64::NAN, silent_s: f64::NAN, ..VIEW }, 450.0, Source::Floor);
    }
}
