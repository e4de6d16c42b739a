//! What a move of a position would do, as a pure function of what is known: what is skipped, what is
//! read again, and what speaks against it.

use serde::{Deserialize, Serialize};
use shared::clock::Millis;
use shared::position::{Offset, PartitionId};

use super::Kind;
use crate::resolution::Stored;

/// What is known of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub id: PartitionId,
    /// Its row, where there is one.
    pub stored: Option<Stored>,
    /// Who claimed it last.
    pub owner: Option<String>,
    /// When its row last changed.
    pub updated_at: Option<Millis>,
    /// The oldest timestamp of the last batch before the position, as its row says.
    pub record_timestamp: Option<Millis>,
    /// What is mirrored to the log.
    pub mirror: Option<Offset>,
    /// The oldest record and the offset after the newest one.
    pub range: (Offset, Offset),
}

/// How the position stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It is in the log.
    Fits,
    /// Nobody has claimed the partition yet, and nothing is mirrored.
    Unclaimed,
    /// Retention has deleted records that were never applied.
    BehindLog,
    /// The log ends before it: the topic was made anew, or has lost records.
    BeyondLog,
    /// The row is gone, but a position was mirrored once.
    Vanished,
}

impl Standing {
    /// How it stands.
    pub fn condition(&self) -> Condition {
        let (low, end) = self.range;
        match (self.stored, self.mirror) {
            (None, None) => Condition::Unclaimed,
            (None, Some(_)) => Condition::Vanished,
            (Some(stored), _) if stored.next < low => Condition::BehindLog,
            (Some(stored), _) if stored.next > end => Condition::BeyondLog,
            (Some(_), _) => Condition::Fits,
        }
    }

    /// Whether it has lost its place in the log.
    pub fn lost(&self) -> bool {
        !matches!(self.condition(), Condition::Fits | Condition::Unclaimed)
    }
}

/// What a move does. Counts are offsets; a few of them may hold no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Deleted from the log before they were applied: nothing brings them back.
    pub lost: i64,
    /// In the log, and never applied because of the move.
    pub skipped: i64,
    /// Read although they, or others at their offsets, were applied before.
    pub read_again: i64,
}

/// Where to.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// The position.
    pub to: Offset,
    /// The timestamp of the record there; `None` at the log's end.
    pub timestamp: Option<Millis>,
    /// Also where identities may be gone.
    pub beyond_window: bool,
}

/// What the move does, or why it is refused. From `ids_since` on a record that is read again meets every id
/// that it would have met at first; `None`: no id was ever forgotten.
pub fn weigh(
    kind: Kind,
    standing: &Standing,
    aim: &Aim,
    ids_since: Option<Millis>,
) -> Result<Effect, String> {
    let (low, end) = standing.range;
    let condition = standing.condition();
    if aim.to < low || aim.to > end {
        return Err(format!("the log holds {} to {}", low.0, end.0));
    }
    let position = standing.stored.map(|stored| stored.next);
    let effect = match (kind, condition, position) {
        (Kind::Recover, Condition::Fits | Condition::Unclaimed, _) => {
            return Err("its position is in the log: recover moves only what has lost its place; \
                        `shock ctl replay` moves a position back"
                .to_owned());
        }
        (Kind::Replay, Condition::Fits, Some(position)) if aim.to > position => {
            return Err(format!(
                "its position is {}: that would skip {} records",
                position.0,
                aim.to.0 - position.0
            ));
        }
        (Kind::Replay, Condition::Fits, Some(position)) => {
            Effect { read_again: position.0 - aim.to.0, ..Effect::default() }
        }
        (Kind::Replay, ..) => {
            return Err("it has no position in the log: `shock ctl recover` moves it".to_owned());
        }
        (Kind::Recover, Condition::BehindLog, Some(position)) => {
            Effect { lost: low.0 - position.0, skipped: aim.to.0 - low.0, ..Effect::default() }
        }
        (Kind::Recover, _, Some(_)) => {
            Effect { skipped: aim.to.0 - low.0, read_again: end.0 - aim.to.0, ..Effect::default() }
        }
        (Kind::Recover, _, None) => {
            // What was mirrored last was applied; more may have been.
            let applied = standing.mirror.unwrap_or(low);
            Effect {
                lost: (low.0 - applied.0).max(0),
                skipped: (aim.to.0 - applied.0.max(low.0)).max(0),
                read_again: (applied.0 - aim.to.0).max(0),
            }
        }
    };
    let reads_again = condition != Condition::BehindLog && aim.to < end;
    let too_old =
        aim.timestamp.zip(ids_since).filter(|(first, since)| reads_again && first < since);
    match too_old {
        Some((first, since)) if !aim.beyond_window => Err(format!(
            "the record there is of {}, and the ids of applied events are surely kept only from {} on. \
             With --beyond-window what is older is known by its row in `events`, and what has no row \
             there has its effect a second time",
            first.rfc3339(),
            since.rfc3339()
        )),
        _ => Ok(effect),
    }
}

#[cfg(test)]
mod tests {
    use shared::position::{Class, Epoch, Partition};

    use super::*;

    const NOW: Millis = Millis(10 * 3_600_000);
    const HOUR: i64 = 3_600_000;

    fn standing(next: Option<i64>, mirror: Option<i64>) -> Standing {
        Standing {
            id: PartitionId { class: Class::Transactional, partition: Partition(0) },
            stored: next.map(|next| Stored { epoch: Epoch(3), next: Offset(next) }),
            owner: None,
            updated_at: None,
            record_timestamp: Some(Millis(NOW.0 - 4 * HOUR)),
            mirror: mirror.map(Offset),
            range: (Offset(100), Offset(200)),
        }
    }

    fn weighed(
        kind: Kind,
        standing: &Standing,
        to: i64,
        at: Option<i64>,
    ) -> Result<Effect, String> {
        let timestamp = at.map(|hours_ago| Millis(NOW.0 - hours_ago * HOUR));
        let aim = Aim { to: Offset(to), timestamp, beyond_window: false };
        weigh(kind, standing, &aim, Some(Millis(NOW.0 - 5 * HOUR)))
    }

    #[test]
    fn conditions() {
        let check = |next, mirror, expected| {
            assert_eq!(standing(next, mirror).condition(), expected, "{next:?} {mirror:?}");
        };
        check(None, None, Condition::Unclaimed);
        check(None, Some(150), Condition::Vanished);
        check(Some(99), Some(99), Condition::BehindLog);
        check(Some(100), None, Condition::Fits);
        check(Some(200), None, Condition::Fits);
        check(Some(201), None, Condition::BeyondLog);
    }

    #[test]
    fn what_a_move_does() {
        use Kind::{Recover, Replay};
        let check = |kind, next, mirror, to, (lost, skipped, read_again)| {
            let effect = weighed(kind, &standing(next, mirror), to, Some(0));
            assert_eq!(effect, Ok(Effect { lost, skipped, read_again }), "{next:?} → {to}");
        };
        check(Recover, Some(60), Some(60), 100, (40, 0, 0));
        check(Recover, Some(60), Some(60), 150, (40, 50, 0));
        check(Recover, Some(500), Some(500), 100, (0, 0, 100));
        check(Recover, Some(500), Some(500), 200, (0, 100, 0));
        check(Recover, None, Some(150), 150, (0, 0, 0));
        check(Recover, None, Some(150), 120, (0, 0, 30));
        check(Recover, None, Some(150), 180, (0, 30, 0));
        check(Recover, None, Some(60), 100, (40, 0, 0));
        check(Replay, Some(180), None, 150, (0, 0, 30));
        check(Replay, Some(180), None, 180, (0, 0, 0));
    }

    #[test]
    fn what_is_refused_says_why() {
        use Kind::{Recover, Replay};
        let check = |kind, next, to, at, expected: &str| {
            let refused = weighed(kind, &standing(next, None), to, at).expect_err("refused");
            assert!(refused.contains(expected), "{refused}");
        };
        check(Recover, Some(150), 120, Some(0), "its position is in the log");
        check(Recover, None, 120, Some(0), "its position is in the log");
        check(Recover, Some(60), 99, Some(0), "holds 100 to 200");
        check(Recover, Some(60), 201, None, "holds 100 to 200");
        check(Replay, Some(150), 151, Some(0), "would skip 1 records");
        check(Replay, Some(60), 100, Some(0), "`shock ctl recover`");
        check(Replay, Some(150), 120, Some(6), "surely kept only from 1970-01-01T05:00:00Z on");
        check(Replay, Some(200), 120, Some(6), "--beyond-window");
        assert!(weighed(Replay, &standing(Some(150), None), 120, Some(5)).is_ok());
        let aim = Aim { to: Offset(120), timestamp: Some(Millis(0)), beyond_window: false };
        assert!(
            weigh(Replay, &standing(Some(150), None), &aim, None).is_ok(),
            "nothing was forgotten"
        );
        // What was never applied may be as old as it likes.
        assert!(weighed(Recover, &standing(Some(60), None), 100, Some(9)).is_ok());
    }
}
