//! The newest words of each process, for people who ask what is going on. Nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::Heard;
use super::message::{Live, PartitionLimit, PartitionReport};
use crate::position::PartitionId;

/// The most words that are kept: three of each process. Beyond, the oldest goes.
const WORDS_MAX: usize = 3 * 512;
/// A word that is older says nothing of now.
const AGE_MAX: Duration = Duration::from_secs(30);

/// By sender and kind.
type Words = BTreeMap<(Arc<str>, &'static str), Arc<Heard>>;

#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Words>);

/// What is said of one partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its class.
    pub class: &'static str,
    /// Its number.
    pub partition: u32,
    /// The process that limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<PartitionLimit>,
    /// How long ago that was said, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_age_s: Option<f64>,
    /// What its writer has measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PartitionReport>,
    /// How long ago, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_age_s: Option<f64>,
    /// Asked for at all replicas that were heard, refused ones included, events/s.
    pub offered_per_s: f64,
    /// Let in by them, events/s.
    pub admitted_per_s: f64,
}

impl Board {
    pub(super) fn hear(&self, heard: &Arc<Heard>) {
        let mut words = self.0.lock();
        words.insert((Arc::clone(&heard.from), heard.live.kind()), Arc::clone(heard));
        if words.len() > WORDS_MAX {
            let oldest = words.iter().min_by_key(|(_, word)| word.at).map(|(key, _)| key.clone());
            oldest.map(|key| words.remove(&key));
        }
    }

    /// What was said lately, partition by partition.
    pub(super) fn rows(&self, now: Instant) -> Vec<Row> {
        let words: Vec<Arc<Heard>> = self.0.lock().values().cloned().collect();
        let mut rows = BTreeMap::new();
        let age = |word: &Heard| word.age + now.saturating_duration_since(word.at);
        for word in words.iter().filter(|word| age(word) <= AGE_MAX) {
            tell(&mut rows, word, age(word).as_secs_f64());
        }
        rows.into_values().collect()
    }
}

fn tell(rows: &mut BTreeMap<PartitionId, Row>, word: &Heard, age_s: f64) {
    match &word.live {
        Live::Limits(limits) => {
            for limit in &limits.partitions {
                let row = row(rows, limit.place.into());
                let newest = |old: PartitionLimit| (old.epoch, old.seq) < (limit.epoch, limit.seq);
                if row.limit.is_none_or(newest) {
                    row.owner = Some(word.from.to_string());
                    (row.limit, row.limit_age_s) = (Some(*limit), Some(age_s));
                }
            }
        }
        Live::Report(report) => {
            for report in &report.partitions {
                let row = row(rows, report.place.into());
                if row.report.is_none_or(|old| old.epoch < report.epoch) {
                    (row.report, row.report_age_s) = (Some(*report), Some(age_s));
                }
            }
        }
        Live::Demand(demand) => {
            for demand in &demand.partitions {
                let row = row(rows, demand.place.into());
                row.offered_per_s += demand.offered_per_s;
                row.admitted_per_s += demand.admitted_per_s;
            }
        }
    }
}

fn row(rows: &mut BTreeMap<PartitionId, Row>, id: PartitionId) -> &mut Row {
    rows.entry(id).or_insert_with(|| Row {
        class: id.class.name(),
        partition: id.partition.0,
        owner: None,
        limit: None,
        limit_age_s: None,
        report: None,
        report_age_s: None,
        offered_per_s: 0.0,
        admitted_per_s: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use control::tick::Reason;

    use super::*;
    use crate::plane::message::{Demand, Limits, PartitionDemand};
    use crate::position::{Class, Partition};

    const ID: PartitionId = PartitionId { class: Class::Telemetry, partition: Partition(7) };

    fn heard(from: &str, at: Instant, live: Live) -> Arc<Heard> {
        Arc::new(Heard { from: Arc::from(from), at, age: Duration::ZERO, live })
    }

    fn limits(epoch: u64, limit_per_s: f64) -> Live {
        Live::Limits(Limits {
            partitions: vec![PartitionLimit {
                place: ID.into(),
                epoch,
                seq: 1,
                limit_per_s: Some(limit_per_s),
                reason: Reason::Limiting,
                signal_s: 0.0,
                setpoint_s: 0.0,
                drain_s: 0.0,
                capacity_per_s: 0.0,
                p: 0.0,
                i: 0.0,
                d: 0.0,
                u: 1.0,
                lower_classes_share: 1.0,
            }],
        })
    }

    fn demand(offered_per_s: f64) -> Live {
        let partitions =
            vec![PartitionDemand { place: ID.into(), offered_per_s, admitted_per_s: 1.0 }];
        Live::Demand(Demand { partitions, ..Demand::default() })
    }

    #[test]
    fn the_owner_with_the_highest_epoch_counts_and_demands_add_up() {
        let (board, now) = (Board::default(), Instant::now());
        // The names are in the other order than the epochs.
        board.hear(&heard("b", now, limits(1, 10.0)));
        board.hear(&heard("a", now, limits(2, 20.0)));
        board.hear(&heard("i", now, demand(100.0)));
        board.hear(&heard("j", now, demand(3.0)));
        board.hear(&heard("j", now, demand(5.0)));
        let rows = board.rows(now + Duration::from_secs(1));
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].class, rows[0].partition), ("telemetry", 7));
        assert_eq!(rows[0].owner.as_deref(), Some("a"));
        assert_eq!(rows[0].limit.and_then(|limit| limit.limit_per_s), Some(20.0));
        assert_eq!(rows[0].limit_age_s, Some(1.0));
        assert_eq!((rows[0].offered_per_s, rows[0].admitted_per_s), (105.0, 2.0));
        assert!(board.rows(now + AGE_MAX + Duration::from_millis(1)).is_empty());
    }

    #[test]
    fn no_more_words_are_kept_than_the_bound() {
        let (board, now) = (Board::default(), Instant::now());
        for n in 0..=WORDS_MAX {
            let at = now + Duration::from_millis(n as u64);
            board.hear(&heard(&format!("i{n}"), at, demand(1.0)));
        }
        let words = board.0.lock();
        assert_eq!(words.len(), WORDS_MAX);
        assert!(!words.contains_key(&(Arc::from("i0"), "demand")), "the oldest");
    }
}
