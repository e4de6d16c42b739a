//! Which mode is in effect: by rule, or pinned by an operator.

use std::collections::BTreeMap;
use std::time::Instant;

use control::level::{Level, ShedShare};
use control::mode::{Figures, Mode, Modes, Pin};
use control::time::Nanos;
use shared::plane::Plane;
use shared::position::{Class, PartitionId};

use super::Admission;
use super::seat::Seat;
use super::webhook::Changed;

/// The rules' state, and what they saw last.
#[derive(Debug, Default)]
pub(super) struct ModeChoice {
    modes: Modes,
    figures: Figures,
    all: ShedShare,
    in_contract: ShedShare,
    /// Asked for and refused by level, at the last step.
    seen: [(u64, u64); Level::COUNT],
}

impl ModeChoice {
    /// Looks at the load, and chooses.
    pub fn step(
        &mut self,
        admission: &Admission,
        plane: &Plane,
        seats: &BTreeMap<PartitionId, Seat>,
        dt_s: f64,
        now: Instant,
    ) {
        self.count(admission, dt_s);
        let share = |holds: &dyn Fn(&Seat) -> bool| {
            let count = seats.values().filter(|seat| holds(seat)).count();
            count as f64 / seats.len().max(1) as f64
        };
        self.figures = Figures {
            wait_s: worst_class(seats),
            shed_share: self.all.share(),
            in_contract_shed_share: self.in_contract.share(),
            stale_share: share(&|seat| seat.is_stale(now)),
            writers_gone_share: share(&|seat| seat.writer_gone(now)),
        };
        self.choose(admission, plane, now);
    }

    /// Chooses by what was seen last and by the operators' word.
    pub fn choose(&mut self, admission: &Admission, plane: &Plane, now: Instant) {
        let config = admission.config.load();
        let pinned = plane.state().borrow().mode(plane.clock().now());
        // The pin's own end is the state's: it is not in it any more then.
        self.modes.pin(pinned.map(|mode| Pin { mode, until: Nanos(u64::MAX) }));
        let by_rule = self.modes.step(&self.figures, admission.nanos(now));
        let mode = if config.automatic_modes || pinned.is_some() { by_rule } else { Mode::Normal };
        if mode == admission.stance.load().mode {
            return;
        }
        let before = admission.replace_stance(Some(mode));
        admission.metrics.entered(mode);
        admission.changed.send_replace(Some(Changed { from: before, to: mode }));
        let Figures { wait_s, shed_share, in_contract_shed_share, stale_share, .. } = self.figures;
        tracing::warn!(
            from = before.name(),
            to = mode.name(),
            pinned = pinned.is_some(),
            wait_s,
            shed_share,
            in_contract_shed_share,
            stale_share,
            "the mode has changed"
        );
    }

    fn count(&mut self, admission: &Admission, dt_s: f64) {
        let (mut offered, mut shed) = (0, 0);
        for (level, seen) in Level::ALL.into_iter().zip(&mut self.seen) {
            let now = admission.metrics.load(level);
            let new = (now.0.saturating_sub(seen.0), now.1.saturating_sub(seen.1));
            *seen = now;
            offered += new.0;
            shed += new.1;
            if level == Level::ALL[1] {
                self.in_contract.count(new.0 as f64, new.1 as f64, dt_s);
            }
        }
        self.all.count(offered as f64, shed as f64, dt_s);
    }
}

/// The wait of the worst class, s: what its partitions have in excess over what they can do, together.
fn worst_class(seats: &BTreeMap<PartitionId, Seat>) -> f64 {
    let mut classes = [(0.0, 0.0); Class::ALL.len()];
    for seat in seats.values() {
        let (waits, capacity) = &mut classes[seat.id.class.index()];
        *waits += seat.wait_s() * seat.capacity_per_s();
        *capacity += seat.capacity_per_s();
    }
    classes
        .into_iter()
        .map(|(waits, all)| if all > 0.0 { waits / all } else { 0.0 })
        .fold(0.0, f64::max)
}
