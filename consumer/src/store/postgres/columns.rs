//! A batch as columns: one array per column, one cached plan whatever the batch's size.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::batch::{ParkedRow, Row, headers_json};

type Bound = Query<'static, Postgres, PgArguments>;

/// The events to apply: `$7` to `$19` of the batch statement.
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
    pub fn of(rows: &'b [Row<'_>]) -> Self {
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

/// The records to park: `$20` to `$30` of the batch statement.
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
            columns.headers.push(headers_json(row.record));
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
    }
}
