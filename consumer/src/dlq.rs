//! The operator's way back for what is parked: look, redrive, drop. For `shock ctl dlq` and the admin
//! port.
//!
//! A look is a walk through the parked rows in the log's order, some at a time, so that its cost and
//! its answer are bounded whatever the table holds; what was not reached is told with a cursor. To
//! redrive is only to say when a row is tried: the writer that owns its partition does it, under its
//! fence, so twice has one effect. Every action that changes a row leaves a row in the audit, in the
//! same transaction.

mod filter;
mod pace;
mod routes;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shared::admin::author::{self, Unsigned};
use shared::clock::Clock;
use shared::log::Record;
use tracing::info;

pub use self::filter::Filter;
pub(crate) use self::filter::Named;
use self::filter::{Checked, cursor, position};
pub use self::pace::RATE_MIN;
use self::pace::paced;
pub use self::routes::{
    AUDIT_PATH, CALLS_MAX, DROP_PATH, LIST_PATH, REDRIVE_PATH, ROW_PATH, SUMMARY_PATH, routes,
};
pub use self::view::{AuditRow, Bytes, Group, Page, Row, Summary, Whole};
use crate::failure::StoreError;
use crate::store::dlq::{Parked, ParkedKey, State};
use crate::store::{Note, Store};

/// The most rows of one page.
pub const PAGE_MAX: u16 = 1_000;
/// The most rows one action changes; it goes on from its cursor.
pub const ACT_ROWS_MAX: usize = 100_000;
/// The longest one walk takes before it says where it is.
const WALK_TIME_MAX: Duration = Duration::from_secs(10);
/// Rows that are read at once, and records, which may be large.
const ROWS_MAX: u16 = 1_000;
const RECORDS_MAX: usize = 16;
/// An action is tried again so often after a deadlock with a writer; each costs the server's
/// `deadlock_timeout` (1 s).
const DEADLOCKS_MAX: u32 = 5;
/// Rows of one position: one, but for a topic that was made anew.
const SAME_PLACE_MAX: usize = 16;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// The request.
    #[error("{0}")]
    Request(String),
    /// Nothing is there that is meant.
    #[error("{0}")]
    Nothing(String),
    /// The store cannot be asked.
    #[error("the store cannot be asked: {0}")]
    Store(#[from] StoreError),
}

impl From<Unsigned> for DlqError {
    fn from(error: Unsigned) -> Self {
        Self::Request(error.to_string())
    }
}

/// What may be done with parked rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They are tried again.
    Redrive,
    /// They are given up; their identities stay duplicates.
    Drop,
}

/// What an operator asks to be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// To which rows.
    pub filter: Filter,
    /// To all of them: without it a filter has to say something.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Only say what would be done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How many a second are tried; none: as fast as their writers go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Where an earlier part ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many rows the earlier parts took.
    pub begun: u64,
    /// Who asks.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// What.
    pub action: Action,
    /// Whether it was only looked.
    pub dry_run: bool,
    /// How many rows are meant.
    pub matched: u64,
    /// How many were changed; fewer where one had its effect meanwhile.
    pub changed: u64,
    /// In how many seconds the last one is tried.
    pub last_try_in_s: f64,
    /// What they are.
    pub groups: Vec<Group>,
    /// Where it goes on; none: that was all.
    pub next: Option<String>,
}

/// Parked rows in operators' hands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dlq {
    store: Store,
    clock: Clock,
}

/// What a walk meets.
struct Found {
    row: Parked,
    record: Option<Record>,
    named: Named,
}

impl Dlq {
    /// Over a store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The next rows of a filter, at most [`PAGE_MAX`].
    pub async fn list(
        &self,
        filter: Filter,
        after: Option<&str>,
        rows_max: u16,
    ) -> Result<Page, DlqError> {
        let rows_max = usize::from(rows_max.clamp(1, PAGE_MAX));
        let mut rows = Vec::new();
        let next = self
            .walk(&filter.check()?, after, (rows_max, true), |found| {
                rows.push(Row::of(&found.row, found.named.cut()));
            })
            .await?;
        Ok(Page { rows, next })
    }

    /// How many rows of a filter there are, by reason, tenant, type and state.
    pub async fn summary(&self, filter: Filter, after: Option<&str>) -> Result<Summary, DlqError> {
        let mut groups = Groups::default();
        let next = self
            .walk(&filter.check()?, after, (usize::MAX, true), |found| {
                groups.add(&found.row, found.named.cut().event_type);
            })
            .await?;
        Ok(Summary { groups: groups.sorted(), next })
    }

    /// The row of a record, `CLASS/PARTITION@OFFSET`, with all of it.
    pub async fn show(&self, place: &str) -> Result<Vec<Whole>, DlqError> {
        if position(place).is_none() {
            let why = format!("{place:?} names no record: write CLASS/PARTITION@OFFSET");
            return Err(DlqError::Request(why));
        }
        let filter = Filter { place: Some(place.to_owned()), ..Filter::default() };
        let mut rows = Vec::new();
        self.walk(&filter.check()?, None, (SAME_PLACE_MAX, true), |found| {
            rows.extend(found.record.map(|record| Whole::of(&found.row, &record)));
        })
        .await?;
        match rows.is_empty() {
            true => Err(DlqError::Nothing(format!("nothing is parked at {place}"))),
            false => Ok(rows),
        }
    }

    /// What was done by hand, the newest first.
    pub async fn audit(
        &self,
        before: Option<i64>,
        rows_max: u16,
    ) -> Result<Vec<AuditRow>, DlqError> {
        let rows = self.store.audit(before, rows_max.clamp(1, PAGE_MAX)).await?;
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }

    /// Redrives or drops what is asked, at most [`ACT_ROWS_MAX`] rows: the answer says where it goes on.
    pub async fn act(&self, action: Action, ask: Ask) -> Result<Done, DlqError> {
        let (checked, note) = checked(action, &ask)?;
        // What was dropped is redriven only where somebody says so.
        let states = checked.states(&[State::Parked, State::Dead]);
        let (mut rows, mut groups) = (Vec::new(), Groups::default());
        let bounds = (ACT_ROWS_MAX, checked.needs_record());
        let next = self
            .walk(&checked, ask.after.as_deref(), bounds, |found| {
                if states.contains(&found.row.state) {
                    groups.add(&found.row, found.named.cut().event_type);
                    rows.push(found.row);
                }
            })
            .await?;
        if rows.is_empty() && next.is_none() && ask.begun == 0 {
            let why = format!("nothing to {}: no parked row is meant by it", action.name());
            return Err(DlqError::Nothing(why));
        }
        let matched = rows.len() as u64;
        let paced = paced(rows, ask.rate_per_s, ask.begun);
        let last_try_in_s = paced.last().map_or(0.0, |(_, wait_ms)| *wait_ms as f64 / 1_000.0);
        let changed = match ask.dry_run || paced.is_empty() {
            true => 0,
            false => self.change(action, &paced, &states, &note).await?,
        };
        let groups = groups.sorted();
        Ok(Done { action, dry_run: ask.dry_run, matched, changed, last_try_in_s, groups, next })
    }

    async fn change(
        &self,
        action: Action,
        rows: &[(ParkedKey, i64)],
        states: &[State],
        note: &Note,
    ) -> Result<u64, DlqError> {
        let keys = || rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        let mut deadlocks = 0;
        let changed = loop {
            let now = self.clock.now();
            let changed = match action {
                Action::Redrive => self.store.redrive(rows, states, note, now).await,
                Action::Drop => self.store.drop_parked(&keys(), states, note, now).await,
            };
            match changed {
                // Writers touch the same rows in an order of their own.
                Err(error) if error.is_deadlock() && deadlocks < DEADLOCKS_MAX => deadlocks += 1,
                changed => break changed?,
            }
        };
        info!(
            action = action.name(),
            by = note.author,
            why = note.reason,
            filter = note.filter,
            rows = changed,
            "an operator's action on parked records"
        );
        Ok(changed)
    }

    /// Visits the rows of a filter in the log's order, at most so many, with their records where
    /// these are asked for or decide. Where it stopped before the end, the cursor.
    async fn walk(
        &self,
        filter: &Checked,
        after: Option<&str>,
        (mut left, records): (usize, bool),
        mut visit: impl FnMut(Found),
    ) -> Result<Option<String>, DlqError> {
        let deadline = Instant::now() + WALK_TIME_MAX;
        let mut stretch = filter.stretch(after)?;
        loop {
            let rows = self.store.parked_in(&stretch, ROWS_MAX).await?;
            let Some(last) = rows.last().cloned() else { return Ok(None) };
            let was_last = rows.len() < usize::from(ROWS_MAX);
            let likely: Vec<Parked> = rows.into_iter().filter(|row| filter.likes(row)).collect();
            for few in likely.chunks(RECORDS_MAX) {
                let mut found = self.records(few, records || filter.needs_record()).await?;
                for row in few {
                    let record = found.as_mut().map(|found| found.remove(&row.key));
                    let record = match record {
                        // It had its effect since it was listed.
                        Some(None) => continue,
                        Some(record) => record,
                        None => None,
                    };
                    let named = record.as_ref().map(Named::of).unwrap_or_default();
                    if !filter.takes(&named) {
                        continue;
                    }
                    visit(Found { row: row.clone(), record, named });
                    left -= 1;
                    if left == 0 {
                        return Ok(Some(cursor(row)));
                    }
                }
                if Instant::now() >= deadline {
                    return Ok(few.last().map(cursor));
                }
            }
            if was_last {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Ok(Some(cursor(&last)));
            }
            stretch = stretch.behind(last.position, &last.key.digest);
        }
    }

    async fn records(
        &self,
        rows: &[Parked],
        wanted: bool,
    ) -> Result<Option<HashMap<ParkedKey, Record>>, DlqError> {
        if !wanted {
            return Ok(None);
        }
        let keys: Vec<&ParkedKey> = rows.iter().map(|row| &row.key).collect();
        Ok(Some(self.store.parked_records(&keys).await?.into_iter().collect()))
    }
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Drop => "drop",
        }
    }
}

/// The filter and the note of what is asked, or why it is not done.
fn checked(action: Action, ask: &Ask) -> Result<(Checked, Note), DlqError> {
    let refuse = |why: &str| Err(DlqError::Request(why.to_owned()));
    match (ask.filter.is_empty(), ask.all) {
        (true, false) => return refuse("which rows? Give a filter, or say all"),
        (false, true) => return refuse("either a filter or all"),
        _ => {}
    }
    match (action, ask.rate_per_s) {
        (Action::Drop, Some(_)) => return refuse("what is dropped has no rate"),
        (Action::Redrive, Some(rate)) if !(rate.is_finite() && rate >= RATE_MIN) => {
            let why = format!("rate_per_s has to be a number from {RATE_MIN} on");
            return Err(DlqError::Request(why));
        }
        _ => {}
    }
    let mut filter = serde_json::json!(ask.filter);
    if ask.all {
        filter["all"] = true.into();
    }
    if let Some(rate) = ask.rate_per_s {
        filter["rate_per_s"] = rate.into();
    }
    // A look needs no name.
    let (author, reason) = match ask.dry_run {
        true => Default::default(),
        false => (author::signed(&ask.by)?, author::reason(&ask.why)?),
    };
    let note = Note { author, action: action.name(), reason, filter: filter.to_string() };
    Ok((ask.filter.clone().check()?, note))
}

/// Counts by what rows have in common.
#[derive(Default)]
struct Groups(BTreeMap<(String, String, Option<String>, State), Group>);

impl Groups {
    fn add(&mut self, row: &Parked, event_type: Option<String>) {
        let key = (row.reason.clone(), row.key.tenant.clone(), event_type.clone(), row.state);
        let group = self.0.entry(key).or_insert_with(|| Group {
            reason: row.reason.clone(),
            tenant: row.key.tenant.clone(),
            event_type,
            state: row.state.name().to_owned(),
            count: 0,
            oldest_ms: row.at.0,
            newest_ms: row.at.0,
        });
        group.count += 1;
        group.oldest_ms = group.oldest_ms.min(row.at.0);
        group.newest_ms = group.newest_ms.max(row.at.0);
    }

    fn sorted(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}
