//! Rows that go one after the other: those of one entity, where a sink keeps order.

use std::collections::HashMap;
use std::time::Duration;

use super::target::Outcome;
use crate::store::outbox::Due;

/// More rows of one entity are read again later: what is in hand when the process dies is sent twice.
const ROWS_MAX: usize = 8;

/// A lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// What its rows have in common; `None` where it is a lane of one, or of all.
    pub entity: Option<String>,
    /// In their order.
    pub rows: Vec<Due>,
}

/// A row of a lane, and what became of it.
#[derive(Debug)]
pub(super) struct Answer {
    /// The row.
    pub row: Due,
    /// `None`: one before it failed, so it was not sent.
    pub outcome: Option<Outcome>,
    /// How long it took.
    pub took: Duration,
}

impl Lane {
    /// At most `free` lanes of rows that come by number. What fits into none is left out, and with it
    /// all that would have to come after it.
    pub(super) fn deal(rows: Vec<Due>, free: usize, ordered: bool) -> Vec<Self> {
        let mut lanes: Vec<Self> = Vec::with_capacity(free);
        let mut of_entity: HashMap<String, Option<usize>> = HashMap::new();
        for row in rows {
            let entity = row.entity.clone().filter(|_| ordered);
            let lane = entity.as_ref().and_then(|entity| of_entity.get(entity).copied());
            match lane {
                // Its entity's lane is full, or there was none for it.
                Some(None) => {}
                Some(Some(index)) if lanes[index].rows.len() < ROWS_MAX => {
                    lanes[index].rows.push(row);
                }
                Some(Some(_)) => {
                    of_entity.extend(entity.map(|entity| (entity, None)));
                }
                None => {
                    let index = (lanes.len() < free).then_some(lanes.len());
                    of_entity.extend(entity.clone().map(|entity| (entity, index)));
                    if index.is_some() {
                        lanes.push(Self { entity, rows: vec![row] });
                    }
                }
            }
        }
        lanes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::clock::Millis;
    use shared::log::Record;
    use shared::position::{Class, Offset, Partition, PartitionId, Position};

    use super::*;

    fn row(seq: i64, entity: &str) -> Due {
        let id = PartitionId { class: Class::Transactional, partition: Partition(0) };
        Due {
            seq,
            record: Record {
                position: Position { id, offset: Offset(seq) },
                timestamp: Millis(0),
                key: Bytes::new(),
                value: Bytes::new(),
                headers: Vec::new(),
            },
            message_id: seq.to_string(),
            entity: (!entity.is_empty()).then(|| entity.to_owned()),
            attempts: 0,
            created_at: Millis(0),
        }
    }

    fn dealt(rows: &[(i64, &str)], free: usize, ordered: bool) -> Vec<Vec<i64>> {
        let rows = rows.iter().map(|(seq, entity)| row(*seq, entity)).collect();
        let lanes = Lane::deal(rows, free, ordered);
        lanes.iter().map(|lane| lane.rows.iter().map(|row| row.seq).collect()).collect()
    }

    #[test]
    fn an_entity_has_one_lane_and_its_order() {
        let rows = [(1, "a"), (2, "b"), (3, "a"), (4, ""), (5, ""), (6, "b")];
        assert_eq!(dealt(&rows, 9, true), [vec![1, 3], vec![2, 6], vec![4], vec![5]]);
        assert_eq!(dealt(&rows, 9, false).len(), 6);
    }

    #[test]
    fn what_finds_no_lane_holds_its_entity_back() {
        let rows = [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "")];
        assert_eq!(dealt(&rows, 1, true), [vec![1, 3]]);
        assert_eq!(dealt(&rows, 0, true), Vec::<Vec<i64>>::new());
        let many: Vec<_> = (0..20).map(|seq| (seq, "a")).chain([(20, "b"), (21, "a")]).collect();
        let lanes = dealt(&many, 2, true);
        assert_eq!(lanes, [(0..ROWS_MAX as i64).collect(), vec![20]]);
    }
}
