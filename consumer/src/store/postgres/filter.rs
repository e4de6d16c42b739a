//! Bloom filters of closed buckets: which identities are surely not in the bucket before.
//!
//! A negative spares a batch statement one look-up; a positive asks the database; nothing here decides
//! that an event is dropped. A filter holds all ids that a bucket had when it was read, in one statement
//! with the bucket's mark, and the batch statement believes a negative only where it finds that mark in
//! its own snapshot: any id that was added since has taken it away (ADR 4 has the proof). So a filter
//! that is old, of another epoch, of a database that was restored or of tenants that have moved is
//! merely of no use.

use std::sync::Arc;
use std::time::Instant;

use bloomfilter::Bloom;
use futures_util::TryStreamExt;
use parking_lot::RwLock;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};

use super::lease::Lease;
use super::{PostgresStore, STATEMENT_TIMEOUT};
use crate::batch::Row;
use crate::bucket::Bucket;
use crate::failure::{Failure, StoreError};
use crate::store::{Known, Reading};

/// Bits for each id that there may be: one in a thousand that are not there passes for one that may be.
const BITS_PER_ID: u64 = 14;
/// Fewer would spare too little (one in eighteen).
const BITS_PER_ID_MIN: u64 = 6;
/// A row of ids takes at least so many bytes of its table: so many ids are there at most.
const ROW_BYTES_MIN: u64 = 80;
/// How long a bucket's writers and vacuum are waited for.
const SEAL_WAIT_MS: i32 = 2_000;

/// The filter of one process: only one bucket is asked all the time.
#[derive(Debug, Default)]
pub(super) struct Filters(RwLock<Option<Arc<Filter>>>);

/// All ids of one bucket under one mark.
pub(super) struct Filter {
    bucket: Bucket,
    mark: String,
    ids: u64,
    bloom: Bloom<[u8]>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("bucket", &self.bucket)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

/// What the filter says of a batch: `$35` to `$37` of its statement.
#[derive(Default)]
pub(super) struct FilterColumns {
    unseen: Vec<bool>,
    buckets: Vec<i64>,
    marks: Vec<String>,
    /// Rows for which there was a filter.
    pub asked: u64,
    /// Those of them that it did not clear.
    pub positive: u64,
}

impl FilterColumns {
    pub(super) fn bind(
        self,
        query: Query<'static, Postgres, PgArguments>,
    ) -> Query<'static, Postgres, PgArguments> {
        query.bind(self.unseen).bind(self.buckets).bind(self.marks)
    }
}

impl Filters {
    /// Asks it about the rows of a batch.
    pub(super) fn ask(&self, rows: &[Row<'_>]) -> FilterColumns {
        let filter = self.0.read().clone();
        let mut columns = FilterColumns {
            unseen: Vec::with_capacity(rows.len()),
            buckets: filter.iter().map(|one| one.bucket.0).collect(),
            marks: filter.iter().map(|one| one.mark.clone()).collect(),
            ..FilterColumns::default()
        };
        for row in rows {
            let before = Bucket(row.bucket.0 - 1);
            let filter = filter.as_ref().filter(|one| one.bucket == before);
            let positive = filter.map(|one| one.bloom.check(row.identity.digest.as_slice()));
            columns.asked += u64::from(positive.is_some());
            columns.positive += u64::from(positive == Some(true));
            columns.unseen.push(positive == Some(false));
        }
        columns
    }

    fn holds(&self, bucket: Bucket, mark: &str) -> bool {
        self.0.read().as_ref().is_some_and(|one| one.bucket == bucket && one.mark == mark)
    }

    fn put(&self, filter: Filter) {
        *self.0.write() = Some(Arc::new(filter));
    }

    pub(super) fn known(&self) -> Known {
        let known = |one: &Arc<Filter>| Known { ids: one.ids, bytes: one.bloom.len() / 8 };
        self.0.read().as_ref().map(known).unwrap_or_default()
    }
}

impl PostgresStore {
    /// Reads the ids of a bucket that is over, where that is not done yet and `passed` (ms) has been
    /// passed by every position.
    pub(in crate::store) async fn read_ids(
        &self,
        bucket: Bucket,
        passed: i64,
        bytes_max: usize,
    ) -> Result<Reading, StoreError> {
        let mut lease = Lease::of(&self.pool).await?;
        let closed = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.sql.closed)))
            .bind(bucket.0)
            .bind(passed)
            .fetch_one(&mut *lease);
        let closed = tokio::time::timeout(STATEMENT_TIMEOUT, closed).await;
        let (closed, bytes): (bool, Option<i64>) = lease.settled(closed)?;
        let Some(bytes) = bytes.filter(|_| closed) else { return Ok(Reading::NotYet) };

        let ids_max = (bytes.unsigned_abs() / ROW_BYTES_MIN).max(1_000);
        let bits = (ids_max * BITS_PER_ID).min(bytes_max as u64 * 8);
        if bits < ids_max * BITS_PER_ID_MIN {
            return Ok(Reading::TooMany(ids_max));
        }
        let mut lease = Lease::of(&self.pool).await?;
        let sealed = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.sql.seal)))
            .bind(bucket.0)
            .bind(SEAL_WAIT_MS)
            .fetch_one(&mut *lease);
        let sealed = tokio::time::timeout(STATEMENT_TIMEOUT, sealed).await;
        let mark: Option<String> = match lease.settled(sealed) {
            // A vacuum is on it, or a writer that takes its time.
            Err(error) if error.is_busy() => None,
            mark => mark?,
        };
        let Some(mark) = mark else { return Ok(Reading::NotYet) };
        if self.filters.holds(bucket, &mark) {
            return Ok(Reading::Known);
        }
        let began = Instant::now();
        let mut bloom = Bloom::new(bits.div_ceil(8) as usize, ids_max as usize)
            .map_err(|error| broken(error.to_owned()))?;
        match self.copy_ids(bucket, &mark, &mut bloom).await? {
            Some(ids) => {
                self.filters.put(Filter { bucket, mark, ids, bloom });
                Ok(Reading::Read { ids, took: began.elapsed() })
            }
            None => Ok(Reading::Unsealed { took: began.elapsed() }),
        }
    }

    /// Adds a bucket's ids, as one statement sees them together with the mark; `None` where the mark is
    /// not there any more.
    async fn copy_ids(
        &self,
        bucket: Bucket,
        mark: &str,
        bloom: &mut Bloom<[u8]>,
    ) -> Result<Option<u64>, StoreError> {
        let (schema, bucket) = (&self.schema, bucket.0);
        if mark.contains('\'') {
            return Err(broken("a bucket's mark is not as it was written".to_owned()));
        }
        let sql = format!(
            "copy (select null::bytea from {schema}.sealed_buckets \
               where bucket = {bucket} and mark = '{mark}' \
             union all select digest from {schema}.processed_ids where bucket = {bucket}) \
             to stdout (format binary)"
        );
        let mut lease = Lease::of(&self.pool).await?;
        let copied = async {
            let mut parts = lease.copy_out_raw(&sql).await?;
            let mut reading = Copied::default();
            while let Some(part) = parts.try_next().await? {
                reading.take(&part, bloom);
            }
            Ok(reading)
        };
        let copied = tokio::time::timeout(STATEMENT_TIMEOUT, copied).await;
        let reading = lease.settled(copied)?;
        match reading.is_whole() {
            true => Ok(reading.sealed.then_some(reading.ids)),
            false => Err(broken("the ids of a bucket ended in the middle".to_owned())),
        }
    }
}

fn broken(message: String) -> StoreError {
    StoreError { failure: Failure::Retry, code: None, message }
}

/// The binary form of COPY: a signature, flags and an extension of a length; then for each row the
/// number of its fields, here one, its length (-1: null), its bytes; then -1 instead of a number.
#[derive(Debug, Default)]
struct Copied {
    /// What was not a whole row yet.
    rest: Vec<u8>,
    began: bool,
    ended: bool,
    sealed: bool,
    ids: u64,
}

impl Copied {
    fn take(&mut self, part: &[u8], bloom: &mut Bloom<[u8]>) {
        if self.rest.is_empty() {
            let used = self.rows(part, bloom);
            self.rest.extend_from_slice(&part[used..]);
            return;
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(part);
        let used = self.rows(&rest, bloom);
        rest.drain(..used);
        self.rest = rest;
    }

    /// How many bytes were whole rows.
    fn rows(&mut self, bytes: &[u8], bloom: &mut Bloom<[u8]>) -> usize {
        let mut left = bytes;
        if !self.began {
            let Some((head, rows)) = left.split_at_checked(19) else { return 0 };
            let extension = u32::from_be_bytes([head[15], head[16], head[17], head[18]]) as usize;
            let Some(rows) = rows.get(extension..) else { return 0 };
            self.began = true;
            left = rows;
        }
        loop {
            match *left {
                [0, 1, 255, 255, 255, 255, ref rows @ ..] => {
                    self.sealed = true;
                    left = rows;
                }
                [0, 1, a, b, c, d, ref field @ ..] => {
                    let length = u32::from_be_bytes([a, b, c, d]) as usize;
                    let Some((digest, rows)) = field.split_at_checked(length) else { break };
                    bloom.set(digest);
                    self.ids += 1;
                    left = rows;
                }
                [255, 255, ..] => {
                    self.ended = true;
                    return bytes.len();
                }
                _ => break,
            }
        }
        bytes.len() - left.len()
    }

    fn is_whole(&self) -> bool {
        self.began && self.ended && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

    fn copy(digests: &[&[u8]], sealed: bool) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        if sealed {
            bytes.extend([0, 1, 255, 255, 255, 255]);
        }
        for digest in digests {
            bytes.extend([0, 1]);
            bytes.extend((digest.len() as u32).to_be_bytes());
            bytes.extend(*digest);
        }
        bytes.extend([255, 255]);
        bytes
    }

    #[test]
    fn ids_are_read_however_they_come_in_parts() {
        let digests: Vec<Vec<u8>> = (0_u8..40).map(|n| vec![n; usize::from(n % 17)]).collect();
        let digests: Vec<&[u8]> = digests.iter().map(Vec::as_slice).collect();
        let bytes = copy(&digests, true);
        for size in 1..bytes.len() {
            let mut bloom = Bloom::new_for_fp_rate(1_000, 0.001).expect("a size");
            let mut copied = Copied::default();
            bytes.chunks(size).for_each(|part| copied.take(part, &mut bloom));
            assert!(copied.is_whole() && copied.sealed, "in parts of {size}");
            assert_eq!(copied.ids, 40);
            assert!(digests.iter().all(|digest| bloom.check(digest)), "in parts of {size}");
            assert!(!bloom.check(&[99; 16]));
        }
    }

    #[test]
    fn what_ends_in_the_middle_is_not_believed() {
        let bytes = copy(&[&[7; 16], &[8; 16]], false);
        for length in 0..bytes.len() {
            let mut bloom = Bloom::new_for_fp_rate(1_000, 0.001).expect("a size");
            let mut copied = Copied::default();
            copied.take(&bytes[..length], &mut bloom);
            assert!(!copied.is_whole(), "{length} of {}", bytes.len());
        }
        let mut copied = Copied::default();
        copied.take(&bytes, &mut Bloom::new_for_fp_rate(1_000, 0.001).expect("a size"));
        assert!(copied.is_whole() && !copied.sealed);
    }
}
