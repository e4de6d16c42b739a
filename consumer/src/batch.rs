//! A batch: records decoded and sorted into what is to be applied and what is to be parked, before
//! the database hears of them.
//!
//! Everything here is a pure function of the records, the position and the time: the same records
//! give the same batch after a crash. It never drops a record silently; what is not applied and not
//! parked is a repetition and is counted.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::clock::Millis;
use shared::event::{Event, Undecodable, tenant_of_key};
use shared::identity::{Identity, payload_digest};
use shared::log::Record;
use shared::position::{Epoch, Offset, PartitionId, Position};
use shared::route::Router;

use crate::bucket::{Bucket, Width};

/// A longer entity is kept as its digest.
const ENTITY_BYTES_MAX: usize = 255;

/// Why a record is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poison {
    /// It is no event.
    Undecodable(Undecodable),
    /// Its timestamp is in no bucket ([`Width::bucket`]).
    TimestampOutOfRange,
    /// An attribute contains U+0000, which SQL's text cannot hold.
    TextHasNul,
    /// The database refused this one record; its SQLSTATE or result code.
    Refused(Option<String>),
    /// It waits behind an earlier one of its entity that is parked.
    Behind,
    /// Whoever tries it dies: its process, the database's backend, or the time for its statement.
    Crash {
        /// What the database said last, where it was the database.
        code: Option<String>,
        /// It is parked without a look into it, because that kills, too.
        unread: bool,
    },
}

/// A record that was tried alone and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why it is parked.
    pub poison: Poison,
    /// How often it was tried.
    pub attempts: i32,
}

/// What is to be parked of a batch although it can be decoded, and what becomes of it then.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// The records.
    pub records: BTreeMap<Offset, Refusal>,
    /// After so long what is parked now is tried again by itself; `None`: never.
    pub retry_after: Option<Duration>,
    /// So many times.
    pub tries: i32,
}

impl Poison {
    /// Every [`Poison::reason`].
    pub const REASONS: [&'static str; 11] = [
        "key_without_tenant",
        "empty_value",
        "value_not_json",
        "id_missing",
        "type_missing",
        "header_not_utf8",
        "timestamp_out_of_range",
        "text_has_nul",
        "refused_by_store",
        "crash",
        "behind",
    ];

    /// The reason in `parked` and in the metrics: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable(Undecodable::Tenant) => "key_without_tenant",
            Self::Undecodable(Undecodable::Empty) => "empty_value",
            Self::Undecodable(Undecodable::Json) => "value_not_json",
            Self::Undecodable(Undecodable::Id) => "id_missing",
            Self::Undecodable(Undecodable::Type) => "type_missing",
            Self::Undecodable(Undecodable::Header) => "header_not_utf8",
            Self::TimestampOutOfRange => "timestamp_out_of_range",
            Self::TextHasNul => "text_has_nul",
            Self::Refused(_) => "refused_by_store",
            Self::Crash { .. } => "crash",
            Self::Behind => "behind",
        }
    }

    /// Whether the same record may pass at a later try. What cannot be decoded stays what it is.
    pub fn may_heal(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Behind | Self::Crash { unread: false, .. } => true,
            Self::Crash { unread: true, .. } => false,
            Self::Undecodable(_) | Self::TimestampOutOfRange | Self::TextHasNul => false,
        }
    }

    /// The database's own code, where it was the database that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Refused(code) | Self::Crash { code, .. } => code.as_deref(),
            Self::Undecodable(_) | Self::TimestampOutOfRange | Self::TextHasNul | Self::Behind => {
                None
            }
        }
    }
}

/// An event to apply.
#[derive(Debug)]
pub struct Row<'r> {
    /// Its record.
    pub record: &'r Record,
    /// What the record says.
    pub event: Event<'r>,
    /// What deduplication compares.
    pub identity: Identity,
    /// Where its identity is kept.
    pub bucket: Bucket,
    /// Tells a retry from another payload under the same identity.
    pub payload_digest: i64,
}

/// A record to park.
#[derive(Debug)]
pub struct ParkedRow<'r> {
    /// The record, kept whole.
    pub record: &'r Record,
    /// The key's tenant, empty where the key has none.
    pub tenant: String,
    /// The identity's digest, or one of the record's position where there is no identity: a replay
    /// must not park it twice.
    pub digest: [u8; 16],
    /// The identity's bucket, where it has one: an identity that has had its effect is not parked.
    pub bucket: Option<Bucket>,
    /// As in [`Row`].
    pub payload_digest: i64,
    /// What stays in order behind it; `None` where SQL's text cannot hold it.
    pub entity: Option<String>,
    /// Why.
    pub poison: Poison,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried again, from now; `None`: it is dead, or waits for its turn behind others.
    pub retry_after: Option<Duration>,
    /// So many times.
    pub tries: i32,
}

/// What one statement does: from `expected` to `target`, all or nothing.
#[derive(Debug)]
pub struct Batch<'r> {
    /// The partition.
    pub id: PartitionId,
    /// The claim under which it may be applied.
    pub epoch: Epoch,
    /// Where the partition must stand.
    pub expected: Offset,
    /// Where it stands afterwards.
    pub target: Offset,
    /// The oldest plausible timestamp of its records: the position has passed the records up to it. The
    /// last one's would be a single clock's word for all that comes behind.
    pub record_timestamp: Option<Millis>,
    /// To apply: identities differ from one another.
    pub rows: Vec<Row<'r>>,
    /// To park.
    pub parked: Vec<ParkedRow<'r>>,
    /// Records that repeat an identity of an earlier record of this batch.
    pub repeated: u64,
    /// Of those, the ones with another payload.
    pub conflicts: u64,
    /// Records below `expected`, dropped: the log delivered them again.
    pub replayed: u64,
    /// Records whose route is another partition; the first one's position.
    pub misrouted: (u64, Option<Position>),
}

/// What decoding needs to know besides the records.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The partition.
    pub id: PartitionId,
    /// The claim.
    pub epoch: Epoch,
    /// The position.
    pub expected: Offset,
    /// The width of the buckets.
    pub width: Width,
    /// The time, for what timestamps are plausible.
    pub now: Millis,
    /// Recomputes routes.
    pub router: &'c Router,
    /// What the database refused, found by bisecting.
    pub refused: &'c Refusals,
}

impl<'r> Batch<'r> {
    /// Decodes `records`; `None` where nothing is left above the position.
    ///
    /// # Panics
    /// When offsets do not increase: committing such a batch would lose or repeat records.
    pub fn decode(records: &'r [Record], context: &Context<'_>) -> Option<Self> {
        let last = records.last()?;
        let plausible = |at: &Millis| context.width.bucket(*at, context.now).is_some();
        let mut batch = Self {
            id: context.id,
            epoch: context.epoch,
            expected: context.expected,
            target: last.position.offset.next(),
            record_timestamp: records.iter().map(|one| one.timestamp).filter(plausible).min(),
            rows: Vec::with_capacity(records.len()),
            parked: Vec::new(),
            repeated: 0,
            conflicts: 0,
            replayed: 0,
            misrouted: (0, None),
        };
        let mut first: HashMap<Identity, (Option<Bucket>, i64)> =
            HashMap::with_capacity(records.len());
        let mut previous = None;
        for record in records {
            let offset = record.position.offset;
            assert!(previous < Some(offset), "offsets of one partition increase");
            previous = Some(offset);
            if offset < context.expected {
                batch.replayed += 1;
                continue;
            }
            match Decoded::of(record, context) {
                Decoded::Row(row) => {
                    let key = context.router.class(&row.event.event_type);
                    if context.router.partition(key, &record.key) != context.id {
                        batch.misrouted.0 += 1;
                        batch.misrouted.1.get_or_insert(record.position);
                    }
                    let kept = (Some(row.bucket), row.payload_digest);
                    if batch.is_first(&mut first, row.identity, kept) {
                        batch.rows.push(row);
                    }
                }
                Decoded::Parked(row, None) => batch.parked.push(row),
                Decoded::Parked(row, Some(identity)) => {
                    if batch.is_first(&mut first, identity, (row.bucket, row.payload_digest)) {
                        batch.parked.push(row);
                    }
                }
            }
        }
        (batch.target > batch.expected).then_some(batch)
    }

    /// The entities of what is to be applied.
    pub fn entities(&self) -> impl Iterator<Item = String> + '_ {
        self.rows.iter().filter_map(|row| entity(row.record, Some(&row.event)))
    }

    /// Parks what has to wait behind a parked record of its entity: one that was parked before
    /// (`waiting`), or an earlier one of this batch. So many tries are theirs when it is their turn.
    pub fn hold_back(&mut self, waiting: &HashSet<String>, tries: i32) {
        let mut first: HashMap<&str, Offset> = HashMap::new();
        for row in self.parked.iter().filter(|row| row.retry_after.is_some()) {
            if let Some(entity) = &row.entity {
                first.entry(entity).or_insert(row.record.position.offset);
            }
        }
        if waiting.is_empty() && first.is_empty() {
            return;
        }
        let held = |row: &Row<'_>| {
            let entity = entity(row.record, Some(&row.event))?;
            let earlier = first.get(entity.as_str());
            let waits = waiting.contains(&entity)
                || earlier.is_some_and(|offset| *offset < row.record.position.offset);
            waits.then_some(entity)
        };
        let held: Vec<_> =
            std::mem::take(&mut self.rows).into_iter().map(|row| (held(&row), row)).collect();
        for (entity, row) in held {
            match entity {
                None => self.rows.push(row),
                Some(entity) => self.parked.push(ParkedRow::behind(row, entity, tries)),
            }
        }
        self.parked.sort_by_key(|row| row.record.position.offset);
    }

    /// What is parked for a fault of its own.
    pub fn poisoned(&self) -> impl Iterator<Item = &ParkedRow<'r>> {
        self.parked.iter().filter(|row| row.poison != Poison::Behind)
    }

    /// The buckets that must exist before the statement runs.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.rows.iter().map(|row| row.bucket)
    }

    /// How many records the statement takes, repetitions included.
    pub fn records(&self) -> usize {
        self.rows.len() + self.parked.len() + self.repeated as usize
    }

    /// The first of one identity in a batch wins, as it would across batches: one that is further
    /// away than a neighbouring bucket is a new event, whichever records happen to share a batch.
    fn is_first(
        &mut self,
        first: &mut HashMap<Identity, (Option<Bucket>, i64)>,
        identity: Identity,
        kept: (Option<Bucket>, i64),
    ) -> bool {
        match first.entry(identity) {
            Entry::Vacant(entry) => {
                entry.insert(kept);
                true
            }
            Entry::Occupied(mut entry) => {
                let (bucket, payload) = *entry.get();
                if bucket.zip(kept.0).is_some_and(|(one, other)| (one.0 - other.0).abs() > 1) {
                    entry.insert(kept);
                    return true;
                }
                self.repeated += 1;
                self.conflicts += u64::from(payload != kept.1);
                false
            }
        }
    }
}

impl<'r> ParkedRow<'r> {
    /// One that has not been tried yet.
    fn behind(row: Row<'r>, entity: String, tries: i32) -> Self {
        Self {
            record: row.record,
            tenant: row.identity.tenant.as_str().to_owned(),
            digest: row.identity.digest,
            bucket: Some(row.bucket),
            payload_digest: row.payload_digest,
            entity: Some(entity),
            poison: Poison::Behind,
            attempts: 0,
            retry_after: None,
            tries: tries.max(1),
        }
    }

    /// One whose record says nothing that we could read.
    fn unread(record: &'r Record, poison: Poison, attempts: i32) -> Self {
        let tenant = tenant_of_key(&record.key);
        Self {
            record,
            tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
            digest: digest_of_position(record.position),
            bucket: None,
            payload_digest: payload_digest(&record.value),
            entity: entity(record, None),
            poison,
            attempts,
            retry_after: None,
            tries: 0,
        }
    }
}

enum Decoded<'r> {
    Row(Row<'r>),
    Parked(ParkedRow<'r>, Option<Identity>),
}

impl<'r> Decoded<'r> {
    fn of(record: &'r Record, context: &Context<'_>) -> Self {
        let refusal = context.refused.records.get(&record.position.offset);
        if let Some(Refusal { poison: poison @ Poison::Crash { unread: true, .. }, attempts }) =
            refusal
        {
            return Self::Parked(ParkedRow::unread(record, poison.clone(), *attempts), None);
        }
        let event = match Event::decode(record) {
            Ok(event) => event,
            Err(reason) => {
                let row = ParkedRow::unread(record, Poison::Undecodable(reason), 1);
                return Self::Parked(row, None);
            }
        };
        let payload_digest = payload_digest(&record.value);
        let identity = event.identity();
        let bucket = context.width.bucket(record.timestamp, context.now);
        let (poison, attempts) = match (refusal, bucket) {
            (Some(refusal), _) => (refusal.poison.clone(), refusal.attempts),
            (None, None) => (Poison::TimestampOutOfRange, 1),
            (None, Some(_)) if has_nul(&event) => (Poison::TextHasNul, 1),
            (None, Some(bucket)) => {
                return Self::Row(Row { record, event, identity, bucket, payload_digest });
            }
        };
        let heals = poison.may_heal();
        let row = ParkedRow {
            record,
            tenant: identity.tenant.as_str().to_owned(),
            digest: identity.digest,
            bucket,
            payload_digest,
            entity: entity(record, Some(&event)),
            poison,
            attempts,
            retry_after: context.refused.retry_after.filter(|_| heals),
            tries: if heals { context.refused.tries } else { 0 },
        };
        Self::Parked(row, Some(identity))
    }
}

/// What an event must stay in order with: its entity, or all of its record's key. Tenants apart.
pub fn entity(record: &Record, event: Option<&Event<'_>>) -> Option<String> {
    let key = std::str::from_utf8(&record.key).ok().filter(|key| !key.is_empty())?;
    let entity = match event.and_then(|event| Some((event.tenant, event.subject.as_ref()?))) {
        Some((tenant, subject)) => format!("{}/{subject}", tenant.as_str()),
        None => key.to_owned(),
    };
    if entity.contains('\0') {
        return None;
    }
    // An index holds it, and that has a bound.
    let fits = entity.len() <= ENTITY_BYTES_MAX;
    Some(if fits { entity } else { hex::encode(Sha256::digest(entity)) })
}

/// Whether SQL's text cannot hold one of its attributes.
pub(crate) fn has_nul(event: &Event<'_>) -> bool {
    [Some(&event.source), Some(&event.id), Some(&event.event_type)]
        .into_iter()
        .chain([event.subject.as_ref(), event.time.as_ref()])
        .flatten()
        .any(|text| text.as_bytes().contains(&0))
}

/// Stands in for the identity that an undecodable record does not have. The prefix keeps it apart
/// from every identity's input, which begins with a length.
fn digest_of_position(position: Position) -> [u8; 16] {
    let hash = Sha256::digest(format!("position {position}"));
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    digest
}
