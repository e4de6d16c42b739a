//! A batch as columns: one array per column, one cached plan whatever the batch's size.

use std::time::Duration;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::batch::{ParkedRow, Row};
use crate::headers;
use crate::outbox::{Outgoing, Sinks};
use crate::retry::{Candidate, Settlement};

type Bound = Query<'static, Postgres, PgArguments>;

/// The events to apply: `$7` to `$19` of the batch statement, `$4` to `$16` of a retry.
#[derive(Default)]
pub struct EventColumns<'b> {
    offsets: Vec<i64>,
    buckets: Vec<i64>,
    tenants: Vec<&'b str>,
    digests: Vec<&'b [u8]>,
    payloads: Vec<i64>,
    received: Vec<i64>,
    sources: Vec<&'b str>,
    ids: Vec<&'b str>,
    types: Vec<&'b str>,
    subjects: Vec<Option<&'b str>>,
    times: Vec<Option<&'b str>>,
    data: Vec<&'b str>,
    extensions: Vec<Option<&'b str>>,
}

impl<'b> EventColumns<'b> {
    pub fn of<'r: 'b>(rows: impl IntoIterator<Item = &'b Row<'r>>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.offsets.push(row.record.position.offset.0);
            columns.buckets.push(row.bucket.0);
            columns.tenants.push(row.identity.tenant.as_str());
            columns.digests.push(&row.identity.digest);
            columns.payloads.push(row.payload_digest);
            columns.received.push(row.record.timestamp.0);
            columns.sources.push(&row.event.source);
            columns.ids.push(&row.event.id);
            columns.types.push(&row.event.event_type);
            columns.subjects.push(row.event.subject.as_deref());
            columns.times.push(row.event.time.as_deref());
            columns.data.push(row.event.data);
            columns.extensions.push(row.event.extensions.as_deref());
        }
        columns
    }

    pub fn bind(self, query: Bound) -> Bound {
        query
            .bind(self.offsets)
            .bind(self.buckets)
            .bind(self.tenants)
            .bind(self.digests)
            .bind(self.payloads)
            .bind(self.received)
            .bind(self.sources)
            .bind(self.ids)
            .bind(self.types)
            .bind(self.subjects)
            .bind(self.times)
            .bind(self.data)
            .bind(self.extensions)
    }
}

/// The records to park: `$20` to `$34` of the batch statement.
#[derive(Default)]
pub struct ParkedColumns<'b> {
    offsets: Vec<i64>,
    buckets: Vec<Option<i64>>,
    tenants: Vec<&'b str>,
    digests: Vec<&'b [u8]>,
    payloads: Vec<i64>,
    timestamps: Vec<i64>,
    reasons: Vec<&'static str>,
    sqlstates: Vec<Option<&'b str>>,
    keys: Vec<&'b [u8]>,
    values: Vec<&'b [u8]>,
    headers: Vec<String>,
    attempts: Vec<i32>,
    retry_ms: Vec<Option<i64>>,
    tries: Vec<i32>,
    entities: Vec<Option<&'b str>>,
}

impl<'b> ParkedColumns<'b> {
    pub fn of(rows: &'b [ParkedRow<'_>]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.offsets.push(row.record.position.offset.0);
            columns.buckets.push(row.bucket.map(|bucket| bucket.0));
            columns.tenants.push(&row.tenant);
            columns.digests.push(&row.digest);
            columns.payloads.push(row.payload_digest);
            columns.timestamps.push(row.record.timestamp.0);
            columns.reasons.push(row.poison.reason());
            columns.sqlstates.push(row.poison.sqlstate());
            columns.keys.push(&row.record.key);
            columns.values.push(&row.record.value);
            columns.headers.push(headers::to_json(row.record));
            columns.attempts.push(row.attempts);
            columns.retry_ms.push(row.retry_after.map(millis));
            columns.tries.push(row.tries);
            columns.entities.push(row.entity.as_deref());
        }
        columns
    }

    pub fn bind(self, query: Bound) -> Bound {
        query
            .bind(self.offsets)
            .bind(self.buckets)
            .bind(self.tenants)
            .bind(self.digests)
            .bind(self.payloads)
            .bind(self.timestamps)
            .bind(self.reasons)
            .bind(self.sqlstates)
            .bind(self.keys)
            .bind(self.values)
            .bind(self.headers)
            .bind(self.attempts)
            .bind(self.retry_ms)
            .bind(self.tries)
            .bind(self.entities)
    }
}

/// What goes to sinks: the last parameters of both statements, where there are sinks.
#[derive(Default)]
pub struct OutboxColumns<'b> {
    has_sinks: bool,
    sinks: Vec<&'b str>,
    offsets: Vec<i64>,
    message_ids: Vec<String>,
    entities: Vec<Option<String>>,
    timestamps: Vec<i64>,
    keys: Vec<&'b [u8]>,
    values: Vec<&'b [u8]>,
    headers: Vec<String>,
}

impl<'b> OutboxColumns<'b> {
    pub fn of<'r: 'b>(sinks: &'b Sinks, rows: impl IntoIterator<Item = &'b Row<'r>>) -> Self {
        let mut columns = Self { has_sinks: !sinks.is_empty(), ..Self::default() };
        for row in rows.into_iter().flat_map(|row| sinks.outgoing(row)) {
            columns.push(row);
        }
        columns
    }

    /// What a handler has for the log.
    pub fn of_outgoing(rows: Vec<Outgoing<'b>>) -> Self {
        let mut columns = Self { has_sinks: true, ..Self::default() };
        for row in rows {
            columns.push(row);
        }
        columns
    }

    fn push(&mut self, row: Outgoing<'b>) {
        self.sinks.push(row.sink);
        self.offsets.push(row.record.position.offset.0);
        self.message_ids.push(row.message_id);
        self.entities.push(row.entity);
        self.timestamps.push(row.record.timestamp.0);
        self.keys.push(&row.record.key);
        self.values.push(&row.record.value);
        self.headers.push(headers::to_json(row.record));
    }

    pub fn bind(self, query: Bound) -> Bound {
        if !self.has_sinks {
            return query;
        }
        query
            .bind(self.sinks)
            .bind(self.offsets)
            .bind(self.message_ids)
            .bind(self.entities)
            .bind(self.timestamps)
            .bind(self.keys)
            .bind(self.values)
            .bind(self.headers)
    }
}

/// What goes with the events of a retry: `$17` to `$19` of its statement.
#[derive(Default)]
pub struct CandidateColumns<'b> {
    tenants: Vec<&'b str>,
    digests: Vec<&'b [u8]>,
    own_buckets: Vec<Option<i64>>,
}

impl<'b> CandidateColumns<'b> {
    pub fn of(candidates: &'b [Candidate<'_>]) -> Self {
        let mut columns = Self::default();
        for candidate in candidates {
            columns.tenants.push(&candidate.picked.tenant);
            columns.digests.push(&candidate.picked.digest);
            columns.own_buckets.push(candidate.own.map(|own| own.0));
        }
        columns
    }

    pub fn bind(self, query: Bound) -> Bound {
        query.bind(self.tenants).bind(self.digests).bind(self.own_buckets)
    }
}

/// What failed tries leave: `$4` to `$10` of the statement that settles them.
#[derive(Default)]
pub struct SettlementColumns<'b> {
    tenants: Vec<&'b str>,
    digests: Vec<&'b [u8]>,
    reasons: Vec<Option<&'static str>>,
    sqlstates: Vec<Option<&'b str>>,
    retry_ms: Vec<Option<i64>>,
    given_back: Vec<i32>,
    tries_left: Vec<i32>,
}

impl<'b> SettlementColumns<'b> {
    pub fn of(settlements: &'b [Settlement<'_>]) -> Self {
        let mut columns = Self::default();
        for settlement in settlements {
            let poison = settlement.poison.as_ref();
            columns.tenants.push(&settlement.picked.tenant);
            columns.digests.push(&settlement.picked.digest);
            columns.reasons.push(poison.map(|poison| poison.reason()));
            columns.sqlstates.push(poison.and_then(|poison| poison.sqlstate()));
            columns.retry_ms.push(settlement.retry_after.map(millis));
            columns.given_back.push(settlement.tries_back);
            columns.tries_left.push(settlement.picked.tries_left);
        }
        columns
    }

    pub fn bind(self, query: Bound) -> Bound {
        query
            .bind(self.tenants)
            .bind(self.digests)
            .bind(self.reasons)
            .bind(self.sqlstates)
            .bind(self.retry_ms)
            .bind(self.given_back)
            .bind(self.tries_left)
    }
}

/// What an interval of SQL is made of.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
