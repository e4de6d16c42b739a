//! The statements on PostgreSQL, with the schema's name in them.

use std::sync::Arc;

use super::{dlq, handler, outbox, projections};
use crate::failpoint::fence;
use crate::projection::Projections;

/// Declares them once: what asks for all of them (the test that reads their plans) misses none.
macro_rules! statements {
    ($($name:ident: $sql:expr,)*) => {
        /// The statements with the schema's name in them, each prepared once per connection.
        #[derive(Debug)]
        pub(super) struct Statements {
            $(pub(super) $name: Arc<str>,)*
        }

        impl Statements {
            /// With `pipeline.` replaced by `schema`, which is quoted.
            pub(super) fn of(schema: &str) -> Self {
                let named = |sql: &str| Arc::from(sql.replace("pipeline.", &format!("{schema}.")));
                Self { $($name: named(&$sql),)* }
            }

            /// With the projections in those that apply events, and what fills the outbox where there
            /// are sinks.
            pub(super) fn with(
                mut self,
                schema: &str,
                projections: &Projections,
                has_sinks: bool,
            ) -> Self {
                $(
                    self.$name = projections::joined(&self.$name, schema, projections);
                    if has_sinks {
                        self.$name = outbox::joined(&self.$name, schema);
                    }
                )*
                self
            }

            /// All of them, by name.
            pub(super) fn all(&self) -> Vec<(&'static str, Arc<str>)> {
                vec![$((stringify!($name), Arc::clone(&self.$name)),)*]
            }
        }
    };
}

statements! {
    apply: applies(&fence(include_str!("apply.sql"))),
    probe: applies(include_str!("apply.sql")).replace("-- {undone}\n", UNDONE),
    retry: applies(include_str!("retry.sql")),
    apply_handled: applies(include_str!("apply.sql")) + handler::FRESH,
    retry_handled: applies(include_str!("retry.sql")) + handler::FRESH,
    due: DUE,
    pick: PICK,
    pick_in_order: PICK_IN_ORDER,
    waiting: WAITING,
    arm: ARM,
    arm_all: ARM_ALL,
    settle: SETTLE,
    claim: CLAIM,
    mark: MARK,
    release: RELEASE,
    seed: SEED,
    stored: STORED,
    strayed: STRAYED,
    positions: POSITIONS,
    relocate: RELOCATE,
    restore: RESTORE,
    relocated: RELOCATED,
    applied_last: APPLIED_LAST,
    ensure: ENSURE,
    applied: APPLIED,
    parked: PARKED,
    tail: TAIL,
    caught_up: CAUGHT_UP,
    drop_buckets: DROP_BUCKETS,
    id_buckets: ID_BUCKETS,
    forgotten_before: FORGOTTEN_BEFORE,
    seal: SEAL,
    closed: CLOSED,
    parked_in: dlq::PARKED_IN,
    parked_records: dlq::PARKED_RECORDS,
    redrive: dlq::REDRIVE,
    drop_parked: dlq::DROP_PARKED,
    audit: dlq::AUDIT,
    unmirrored: dlq::UNMIRRORED,
    unmirrored_count: dlq::UNMIRRORED_COUNT,
    mirrored: dlq::MIRRORED,
    hold: handler::HOLD,
    outbox_add: handler::ADD,
    outbox_page: outbox::PAGE,
    outbox_settle: outbox::SETTLE,
    outbox_waiting: outbox::WAITING,
    outbox_rows: outbox::ROWS,
}

/// With the part in it that all statements have which apply events.
fn applies(sql: &str) -> String {
    sql.replace("-- {applied}\n", include_str!("applied.sql"))
}

/// In the batch's statement: all of it passes, and nothing of it stays.
const UNDONE: &str = "undone as (insert into pipeline.undone select 0 from fence),\n";

/// The partitions among these that have a row to try now, or one that may have its turn.
const DUE: &str = "select p.class, p.partition \
    from unnest($1::smallint[], $2::integer[]) as p (class, partition) \
    where exists (select 1 from pipeline.parked k where k.class = p.class \
        and k.partition = p.partition and k.state = 'parked' and k.next_try_at <= now()) \
      or exists (select 1 from pipeline.parked k where k.class = p.class \
        and k.partition = p.partition and k.state = 'parked' and k.reason = 'behind' \
        and k.next_try_at is null)";

/// Takes a try of the rows that are due, in the order in which they are due, then in the log's. The
/// mark of the try outlives us: a row that nobody settles comes back by itself ($5 ms, and for each
/// further one $6 ms more), with one try less.
const PICK: &str = "with due as materialized (\
      select tenant, digest, row_number() over (order by next_try_at, log_offset) as rank \
      from (select tenant, digest, next_try_at, log_offset from pipeline.parked \
        where class = $1 and partition = $2 and state = 'parked' and next_try_at <= now() \
          and exists (select 1 from pipeline.progress where class = $1 and partition = $2 \
            and epoch = $3) \
        order by next_try_at, log_offset limit $4 for update skip locked) rows), \
    picked as (\
      update pipeline.parked k set tries_left = k.tries_left - 1, attempts = k.attempts + 1, \
        next_try_at = now() + ($5::bigint + due.rank * $6::bigint) * interval '1 ms' \
      from due where k.digest = due.digest and k.tenant = due.tenant \
      returning k.tenant, k.digest, k.class, k.partition, k.log_offset, k.record_timestamp, k.reason, \
        k.tries_left, k.key, k.value, k.headers::text as headers, k.entity, false as follows) \
    select * from picked order by log_offset";

/// The same, of each entity only the first that is parked, and what waits right behind it: no other is
/// tried before it. What follows is tried only where the first one has passed, so it keeps its tries. The
/// look-ups of the first are scalar subqueries: those go through the index.
const PICK_IN_ORDER: &str = "with due as materialized (\
      select tenant, digest, entity, log_offset, \
        row_number() over (order by next_try_at, log_offset) as rank \
      from (select tenant, digest, entity, log_offset, next_try_at from pipeline.parked k \
        where class = $1 and partition = $2 and state = 'parked' and next_try_at <= now() \
          and exists (select 1 from pipeline.progress where class = $1 and partition = $2 \
            and epoch = $3) \
          and (entity is null or log_offset <= (select min(f.log_offset) from pipeline.parked f \
            where f.class = $1 and f.partition = $2 and f.entity = k.entity \
              and f.state = 'parked')) \
        order by next_try_at, log_offset limit $4 for update skip locked) rows), \
    picked as (\
      update pipeline.parked k set tries_left = k.tries_left - 1, attempts = k.attempts + 1, \
        next_try_at = now() + ($5::bigint + due.rank * $6::bigint) * interval '1 ms' \
      from due where k.digest = due.digest and k.tenant = due.tenant \
      returning k.tenant, k.digest, k.class, k.partition, k.log_offset, k.record_timestamp, k.reason, \
        k.tries_left, k.key, k.value, k.headers::text as headers, k.entity, false as follows), \
    followers as (\
      select f.tenant, f.digest, f.class, f.partition, f.log_offset, f.record_timestamp, f.reason, \
        f.tries_left, f.key, f.value, f.headers::text as headers, f.entity, true as follows \
      from due h cross join lateral (\
        select next.*, bool_and(next.reason = 'behind' and coalesce(next.next_try_at <= now(), true)) \
          over (order by next.log_offset) as all_wait \
        from (select * from pipeline.parked f \
          where f.class = $1 and f.partition = $2 and f.entity = h.entity and f.state = 'parked' \
            and f.log_offset > h.log_offset order by f.log_offset limit $4) next) f \
      where f.all_wait order by f.log_offset limit $4 - (select count(*) from due)) \
    select * from picked union all select * from followers order by log_offset";

/// Which of these entities have a parked row; and a null, where there is any at all.
const WAITING: &str = "select e.entity from unnest($3::text[]) as e (entity) \
    where exists (select 1 from pipeline.parked k where k.class = $1 and k.partition = $2 \
      and k.entity = e.entity and k.state = 'parked') \
    union all select null where exists (select 1 from pipeline.parked k where k.class = $1 \
      and k.partition = $2 and k.entity is not null and k.state = 'parked')";

/// What waits behind nothing any more is due. Steps from entity to entity through the index.
const ARM: &str = "with recursive e(entity) as (\
      (select entity from pipeline.parked where class = $1 and partition = $2 \
        and reason = 'behind' and state = 'parked' and next_try_at is null and entity is not null \
        order by entity limit 1) \
      union all select (select k.entity from pipeline.parked k where k.class = $1 \
        and k.partition = $2 and k.reason = 'behind' and k.state = 'parked' \
        and k.next_try_at is null and k.entity > e.entity order by k.entity limit 1) \
        from e where e.entity is not null) \
    update pipeline.parked k set next_try_at = now() \
    from e cross join lateral (select f.tenant, f.digest from pipeline.parked f \
      where f.class = $1 and f.partition = $2 and f.entity = e.entity and f.state = 'parked' \
      order by f.log_offset limit 1) first \
    where k.digest = first.digest and k.tenant = first.tenant \
      and k.reason = 'behind' and k.next_try_at is null \
      and exists (select 1 from pipeline.progress where class = $1 and partition = $2 \
        and epoch = $3)";

/// The same whatever it waits behind.
const ARM_ALL: &str = "update pipeline.parked set next_try_at = now() \
    where class = $1 and partition = $2 and reason = 'behind' and state = 'parked' \
      and next_try_at is null \
      and exists (select 1 from pipeline.progress where class = $1 and partition = $2 \
        and epoch = $3)";

/// No retry_ms: it was the last try. given_back 1: the try was none. Where tries_left is another
/// than after the pick-up, an operator has redriven the row meanwhile, and that stands.
const SETTLE: &str = "with fence as materialized (\
      select 1 from pipeline.progress where class = $1 and partition = $2 and epoch = $3) \
    update pipeline.parked k set \
      state = case when b.retry_ms is null then 'dead' else 'parked' end, \
      next_try_at = now() + b.retry_ms * interval '1 ms', \
      tries_left = greatest(0, k.tries_left + b.given_back), attempts = k.attempts - b.given_back, \
      reason = coalesce(b.reason, k.reason), \
      sqlstate = case when b.reason is null then k.sqlstate else b.sqlstate end \
    from unnest($4::text[], $5::bytea[], $6::text[], $7::text[], $8::bigint[], $9::integer[], \
        $10::integer[]) \
      as b (tenant, digest, reason, sqlstate, retry_ms, given_back, tries_left) \
    where k.digest = b.digest and k.tenant = b.tenant and k.state = 'parked' \
      and k.tries_left = b.tries_left \
      and k.class = $1 and k.partition = $2 and exists (select 1 from fence)";

/// Who finds the position where it was claimed last finds an owner that ended without a word. Where a
/// record is marked, that counts only if it was that owner who marked it. $4 above 0: the same process
/// claims again, and lives; not where somebody else has claimed since.
const CLAIM: &str = "update pipeline.progress \
    set epoch = greatest(epoch, $4) + 1, owner = $3, updated_at = now(), \
      attempts = case when $4 = 0 and attempt_from = next_offset then attempts + \
        (attempt_to is null or attempt_epoch is not distinct from epoch)::integer else 0 end, \
      attempt_to = case when $4 = 0 and attempt_from = next_offset then attempt_to end, \
      attempt_from = next_offset \
    where class = $1 and partition = $2 and ($4 = 0 or epoch <= $4) \
    returning epoch, next_offset, attempts, attempt_to";

const SEED: &str = "insert into pipeline.progress as p \
      (class, partition, epoch, next_offset, owner, attempt_from) \
    values ($1, $2, 1, $4, $3, $4) on conflict (class, partition) \
    do update set epoch = p.epoch + 1, owner = excluded.owner, updated_at = now() \
    returning epoch, next_offset";

/// The same mark again keeps the count of those who died under it.
const MARK: &str = "update pipeline.progress \
    set attempts = case when attempt_from = $4 and attempt_to = $5 then attempts else 0 end, \
      attempt_from = $4, attempt_to = $5, attempt_epoch = $3 \
    where class = $1 and partition = $2 and epoch = $3 and next_offset = $4";

const RELEASE: &str = "update pipeline.progress \
    set attempt_from = null, attempt_to = null, attempts = 0 \
    where class = $1 and partition = $2 and epoch = $3";

const STORED: &str = "select epoch, next_offset from pipeline.progress \
    where class = $1 and partition = $2";

/// Epochs and, under one epoch, positions only grow: what is below was not so when it was left.
const STRAYED: &str = "select l.class, l.partition \
    from unnest($1::smallint[], $2::integer[], $3::bigint[], $4::bigint[]) \
        as l (class, partition, epoch, next_offset) \
      left join pipeline.progress p on p.class = l.class and p.partition = l.partition \
    where p.epoch is null or p.epoch < l.epoch \
      or p.epoch = l.epoch and p.next_offset < l.next_offset";

const POSITIONS: &str = "select class, partition, epoch, next_offset, owner, record_timestamp, \
    (extract(epoch from updated_at) * 1000)::bigint as updated_ms \
    from pipeline.progress order by class, partition";

/// $3 the epoch that was seen: whoever has it is fenced from now on. $4 next, $5 its timestamp, $6 owner;
/// $7 to $11 who did what. No attempt of the fenced one is marked any more.
const RELOCATE: &str = "with moved as ( \
      update pipeline.progress set epoch = epoch + 1, next_offset = $4, record_timestamp = $5, \
        owner = $6, updated_at = now(), attempt_from = null, attempt_to = null, attempts = 0 \
      where class = $1 and partition = $2 and epoch = $3 returning epoch, next_offset), \
    noted as (insert into pipeline.audit (author, action, reason, filter, affected) \
      select $7, $8, $9, $10::jsonb, $11 from moved) \
    select epoch, next_offset from moved";

/// The same where the row was gone; $3 is its first epoch.
const RESTORE: &str = "with moved as ( \
      insert into pipeline.progress \
        (class, partition, epoch, next_offset, record_timestamp, owner) \
      values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning epoch, next_offset), \
    noted as (insert into pipeline.audit (author, action, reason, filter, affected) \
      select $7, $8, $9, $10::jsonb, $11 from moved) \
    select epoch, next_offset from moved";

/// A row per partition, so that a scan is short.
const RELOCATED: &str = "select class, partition, epoch from pipeline.progress \
    where owner like $1 || '%'";

const APPLIED_LAST: &str = "select max(log_offset) from pipeline.events \
    where class = $1 and partition = $2";

const ENSURE: &str = "select pipeline.shock_ensure_buckets($1, $2)";

/// The key of each bucket's table begins with the digest: one look-up per bucket.
const APPLIED: &str = "select p.class, p.partition, p.log_offset, \
      (extract(epoch from e.applied_at) * 1000)::bigint as applied_ms \
    from pipeline.processed_ids p left join pipeline.events e \
      on e.class = p.class and e.partition = p.partition and e.log_offset = p.log_offset \
    where p.digest = $1 and p.tenant = $2 order by p.bucket desc limit 1";

const PARKED: &str = "select class, partition, log_offset, reason, sqlstate, attempts, state, \
      (extract(epoch from parked_at) * 1000)::bigint as parked_ms \
    from pipeline.parked where digest = $1 and tenant = $2";

/// The last n of each partition through the key, then the last n of those: inside a partition the
/// order of application is the order of offsets.
const TAIL: &str = "select e.class, e.partition, e.log_offset, e.tenant, e.source, e.id, e.type, \
      e.subject, (extract(epoch from e.received_at) * 1000)::bigint as received_ms, \
      (extract(epoch from e.applied_at) * 1000)::bigint as applied_ms, e.data::text as data \
    from pipeline.progress p cross join lateral (select * from pipeline.events l \
      where l.class = p.class and l.partition = p.partition order by l.log_offset desc limit $1) e \
    order by e.applied_at desc, e.log_offset desc limit $1";

/// A row that is locked is being worked: its partition is not idle, and nobody waits for it here.
const CAUGHT_UP: &str = "with free as (select p.class, p.partition, c.at from pipeline.progress p \
      join unnest($1::smallint[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[]) \
        as c (class, partition, epoch, next_offset, at) \
      on p.class = c.class and p.partition = c.partition and p.epoch = c.epoch \
        and p.next_offset >= c.next_offset \
      for update of p skip locked) \
    update pipeline.progress p set caught_up_at = greatest(p.caught_up_at, f.at) from free f \
    where p.class = f.class and p.partition = f.partition";

const DROP_BUCKETS: &str = "select pipeline.shock_drop_buckets($1, $2)";

/// The slowest partition stands beside: it is the one that buckets wait for.
const ID_BUCKETS: &str = "select b.count, b.oldest, s.class, s.partition \
    from (select count(*) as count, min(bucket) as oldest from pipeline.id_buckets) b \
      left join (select class, partition from pipeline.passed \
        order by passed_ms nulls first, class, partition limit 1) s on true";

const FORGOTTEN_BEFORE: &str =
    "select (ids_forgotten_through + 1) * bucket_ms from pipeline.pipeline";

const SEAL: &str = "select pipeline.shock_seal_bucket($1, $2)";

/// Whether every position has passed a time ($2, in milliseconds) and how much the table of bucket $1
/// holds, in bytes; null where there is none. The table's name is that of shock_ensure_buckets.
const CLOSED: &str = "select coalesce((select bool_and(coalesce(passed_ms, 0) >= $2) from pipeline.passed), \
      false) as closed, \
    (select pg_relation_size(to_regclass('pipeline.' || quote_ident(b.name))) \
      from pipeline.id_buckets b where b.bucket = $1) as bytes";
