//! Moving a position on purpose: `shock ctl recover` and `shock ctl replay`.
//!
//! The consumer itself never jumps: a position outside the log, or a row that is gone, halts its
//! partition, and what Kafka's tools do to the group's offsets moves nothing. Here an operator says
//! where to go on, hears what that skips and reads again, and signs it. The move is one statement
//! under a new epoch, so that whoever has the partition is fenced; the consumer that the log has given
//! it to sees the move within seconds and claims it again ([`crate::Consumer`]). Nothing is moved
//! without being asked for, and no record is read twice past the time for which identities are kept
//! unless the operator insists.

mod plan;
mod routes;

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::admin::author::{Unsigned, reason, signed};
use shared::clock::{Clock, Millis};
use shared::log::{ReadError, Record, Scanner};
use shared::position::{Class, Epoch, Offset, PartitionId};
use shared::route::Router;
use tracing::warn;

pub use self::plan::{Aim, Condition, Effect, Standing, weigh};
pub use self::routes::{MOVE_PATH, routes};
use crate::bucket::Width;
use crate::failure::StoreError;
use crate::store::{Note, Relocation, Store};

/// Which kind of move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Of what has lost its place in the log.
    Recover,
    /// Back, of what has not.
    Replay,
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The oldest record that is left.
    Earliest,
    /// The log's end.
    Latest,
    /// What is mirrored to the log.
    Mirror,
    /// An offset.
    Offset(i64),
    /// The first record that is not older, in milliseconds since the Unix epoch.
    TimeMs(i64),
}

/// What an operator asks for: also the body of `POST /v1/positions/move`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Which kind of move.
    pub kind: Kind,
    /// `CLASS` or `CLASS/PARTITION`; none: whatever has lost its place.
    pub places: Vec<String>,
    /// Where to; absent: only look.
    #[serde(default)]
    pub to: Option<Choice>,
    /// Also where identities may be gone.
    #[serde(default)]
    pub beyond_window: bool,
    /// Do it. Otherwise it is only said.
    #[serde(default)]
    pub apply: bool,
    /// Who asks.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// One partition, and what becomes of it. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `CLASS/PARTITION`.
    pub partition: String,
    /// How it stood.
    pub condition: Condition,
    /// The fencing epoch, before the move.
    pub epoch: Option<i64>,
    /// The position, before the move.
    pub position: Option<i64>,
    /// Who claimed it last.
    pub owner: Option<String>,
    /// When its row last changed.
    pub updated_at_ms: Option<i64>,
    /// The oldest timestamp of the last batch before the position.
    pub record_timestamp_ms: Option<i64>,
    /// What is mirrored to the log: it decides nothing.
    pub mirror: Option<i64>,
    /// The oldest record in the log.
    pub low: i64,
    /// The offset after the newest one.
    pub end: i64,
    /// Where the move goes.
    #[serde(default)]
    pub to: Option<i64>,
    /// What it does.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Effects of other records stand at offsets that are read, up to this one: records there are
    /// parked.
    #[serde(default)]
    pub taken_until: Option<i64>,
    /// Why it is not done.
    #[serde(default)]
    pub refused: Option<String>,
    /// The epoch of the move, where it was done.
    #[serde(default)]
    pub moved_under: Option<i64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The request is not one.
    #[error("{0}")]
    Request(String),
    /// The store cannot be asked.
    #[error("the store cannot be asked: {0}")]
    Store(#[from] StoreError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The process is going down.
    #[error("the move was given up")]
    Aborted,
}

impl From<Unsigned> for RecoveryError {
    fn from(error: Unsigned) -> Self {
        Self::Request(error.to_string())
    }
}

/// Looks, weighs and moves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recovery {
    store: Store,
    scanner: Arc<Scanner>,
    router: Router,
    width: Width,
    clock: Clock,
}

impl Recovery {
    /// Over a store and its log. `width`: of the store's buckets.
    pub fn new(store: Store, scanner: Arc<Scanner>, router: Router, width: Width) -> Self {
        Self { store, scanner, router, width, clock: Clock::default() }
    }

    /// The same at another time.
    pub fn at(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Does what is asked, or says what it would do.
    pub async fn ask(&self, ask: &Ask) -> Result<Vec<Outcome>, RecoveryError> {
        let places = self.places(ask)?;
        let (by, why) = match ask.apply {
            true => (signed(&ask.by)?, reason(&ask.why)?),
            false => (String::new(), String::new()),
        };
        let mut outcomes = Vec::new();
        // An id is looked for in the bucket before its record's, too. What is forgotten between this look
        // and a move is a bucket that the position had passed by two windows.
        let forgotten = self.store.forgotten_before().await?;
        let since = forgotten.map(|before| Millis(before.0.saturating_add(self.width.as_millis())));
        for (standing, target) in self.look(places, ask).await? {
            let mut outcome = Outcome::of(&standing);
            if let Some(target) = target {
                self.weigh(ask, &standing, (target, since), &mut outcome).await?;
                let is_there = ask.kind == Kind::Replay && outcome.position == Some(target.to.0);
                if ask.apply && outcome.refused.is_none() && !is_there {
                    let note = note(ask.kind, &outcome, (&by, &why));
                    let effect = outcome.effect.unwrap_or_default();
                    let relocation = Relocation {
                        seen: standing.stored.map(|stored| stored.epoch),
                        next: target.to,
                        record_timestamp: target.timestamp,
                        // Epochs count claims: milliseconds since 1970 are above all of them.
                        epoch_min: Epoch(self.clock.now().0),
                        note: &note,
                        affected: effect.lost + effect.skipped + effect.read_again,
                    };
                    self.relocate(&relocation, &mut outcome, standing.id).await?;
                }
            } else if ask.to == Some(Choice::Mirror) && (!ask.places.is_empty() || standing.lost())
            {
                outcome.refused = Some("nothing is mirrored to the log".to_owned());
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// The partitions that are named.
    fn places(&self, ask: &Ask) -> Result<Vec<PartitionId>, RecoveryError> {
        let bad = |why: String| Err(RecoveryError::Request(why));
        let all: Vec<PartitionId> = self.router.ids().collect();
        let mut found = Vec::new();
        for place in &ask.places {
            let of = |id: &&PartitionId| id.to_string() == *place || id.class.name() == place;
            let before = found.len();
            found.extend(all.iter().filter(of));
            if found.len() == before {
                let names = Class::ALL.map(Class::name).join(", ");
                return bad(format!(
                    "no partition {place:?}; a place is CLASS or CLASS/PARTITION of {names}"
                ));
            }
        }
        found.sort_unstable();
        found.dedup();
        let count = found.len();
        match (ask.kind, ask.to) {
            (Kind::Replay, None) => bad("a replay needs an offset or a time".to_owned()),
            (Kind::Replay, Some(_)) if count == 0 => {
                bad("say what to replay: CLASS/PARTITION".to_owned())
            }
            (_, Some(Choice::Offset(_))) if count != 1 => {
                bad("an offset is one partition's: name it, CLASS/PARTITION".to_owned())
            }
            (Kind::Recover, Some(Choice::TimeMs(_))) => {
                bad("recover goes to the earliest, the latest, the mirror or an offset".to_owned())
            }
            (_, None) if ask.apply => bad("say where to go on".to_owned()),
            _ if count == 0 => Ok(all),
            _ => Ok(found),
        }
    }

    /// Row, mirror and log of these partitions, and where the move would go, with the timestamp there;
    /// without a place named, only those that have lost theirs are to move.
    async fn look(
        &self,
        ids: Vec<PartitionId>,
        ask: &Ask,
    ) -> Result<Vec<(Standing, Option<Target>)>, RecoveryError> {
        let rows = self.store.positions().await?;
        let scanner = Arc::clone(&self.scanner);
        let (to, named) = (ask.to, !ask.places.is_empty());
        let looked = tokio::task::spawn_blocking(move || {
            let mirrored = scanner.mirrored(&ids)?;
            let mut looked = Vec::with_capacity(ids.len());
            for id in ids {
                let row = rows.iter().find(|row| row.id == id);
                let standing = Standing {
                    id,
                    stored: row.map(|row| row.stored),
                    owner: row.map(|row| row.owner.clone()),
                    updated_at: row.map(|row| row.updated_at),
                    record_timestamp: row.and_then(|row| row.record_timestamp),
                    mirror: mirrored.get(&id).copied(),
                    range: scanner.range(id)?,
                };
                let target = match to.filter(|_| named || standing.lost()) {
                    Some(to) => Target::of(&scanner, &standing, to)?,
                    None => None,
                };
                looked.push((standing, target));
            }
            Ok::<_, ReadError>(looked)
        });
        Ok(looked.await.map_err(|_| RecoveryError::Aborted)??)
    }

    async fn weigh(
        &self,
        ask: &Ask,
        standing: &Standing,
        (Target { to, timestamp }, since): (Target, Option<Millis>),
        outcome: &mut Outcome,
    ) -> Result<(), RecoveryError> {
        let aim = Aim { to, timestamp, beyond_window: ask.beyond_window };
        outcome.to = Some(to.0);
        match weigh(ask.kind, standing, &aim, since) {
            Ok(effect) => outcome.effect = Some(effect),
            Err(why) => outcome.refused = Some(why),
        }
        if outcome.condition == Condition::BeyondLog && outcome.refused.is_none() {
            let last = self.store.applied_last(standing.id).await?;
            outcome.taken_until = last.filter(|last| *last >= to).map(|last| last.0);
        }
        Ok(())
    }

    async fn relocate(
        &self,
        to: &Relocation<'_>,
        outcome: &mut Outcome,
        id: PartitionId,
    ) -> Result<(), RecoveryError> {
        failpoint!(Moving, id);
        let relocated = self.store.relocate(id, to).await?;
        failpoint!(Moved, id);
        match relocated {
            None => outcome.refused = Some("its row has changed meanwhile: look again".to_owned()),
            Some(stored) => {
                outcome.moved_under = Some(stored.epoch.0);
                let Note { author, action, reason, .. } = to.note;
                warn!(partition = %id, action, by = author, why = reason, from = outcome.position,
                    to = to.next.0, epoch = stored.epoch.0, effect = ?outcome.effect,
                    "an operator has moved a position");
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn of(standing: &Standing) -> Self {
        Self {
            partition: standing.id.to_string(),
            condition: standing.condition(),
            epoch: standing.stored.map(|stored| stored.epoch.0),
            position: standing.stored.map(|stored| stored.next.0),
            owner: standing.owner.clone(),
            updated_at_ms: standing.updated_at.map(|at| at.0),
            record_timestamp_ms: standing.record_timestamp.map(|at| at.0),
            mirror: standing.mirror.map(|mirror| mirror.0),
            low: standing.range.0.0,
            end: standing.range.1.0,
            to: None,
            effect: None,
            taken_until: None,
            refused: None,
            moved_under: None,
        }
    }
}

fn note(kind: Kind, outcome: &Outcome, (by, why): (&str, &str)) -> Note {
    let effect = outcome.effect.unwrap_or_default();
    Note {
        author: by.to_owned(),
        action: match kind {
            Kind::Recover => "recover",
            Kind::Replay => "replay",
        },
        reason: why.to_owned(),
        filter: json!({
            "partition": outcome.partition, "from": outcome.position, "to": outcome.to, "effect": effect,
        })
        .to_string(),
    }
}

/// Where a move goes.
#[derive(Clone, Copy, Debug)]
struct Target {
    to: Offset,
    /// Of the record there, where there is one.
    timestamp: Option<Millis>,
}

impl Target {
    /// `None` where the choice names no place: nothing is mirrored.
    fn of(scanner: &Scanner, standing: &Standing, to: Choice) -> Result<Option<Self>, ReadError> {
        let (low, end) = standing.range;
        let to = match to {
            Choice::Earliest => low,
            Choice::Latest => end,
            Choice::Mirror => match standing.mirror {
                Some(mirror) => mirror,
                None => return Ok(None),
            },
            Choice::Offset(offset) => Offset(offset),
            // No record is so young: then there is nothing to read again.
            Choice::TimeMs(time) => {
                let found = scanner.offset_at(standing.id, Millis(time))?.unwrap_or(end);
                standing.stored.map_or(found, |stored| found.min(stored.next))
            }
        };
        let mut timestamp = None;
        if (low..end).contains(&to) {
            scanner.scan(standing.id, to, end, &mut |record: &Record| {
                timestamp = Some(record.timestamp);
                ControlFlow::Break(())
            })?;
        }
        Ok(Some(Self { to, timestamp }))
    }
}
