//! The statements on PostgreSQL, with the schema's name in them.

use std::sync::Arc;

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
                Self { $($name: named($sql),)* }
            }

            /// All of them, by name.
            pub(super) fn all(&self) -> Vec<(&'static str, Arc<str>)> {
                vec![$((stringify!($name), Arc::clone(&self.$name)),)*]
            }
        }
    };
}

statements! {
    apply: include_str!("apply.sql"),
    claim: CLAIM,
    seed: SEED,
    stored: STORED,
    positions: POSITIONS,
    relocate: RELOCATE,
    restore: RESTORE,
    relocated: RELOCATED,
    applied_last: APPLIED_LAST,
    ensure: ENSURE,
    applied: APPLIED,
    parked: PARKED,
    tail: TAIL,
}

const CLAIM: &str = "update pipeline.progress \
    set epoch = greatest(epoch, $4) + 1, owner = $3, updated_at = now() \
    where class = $1 and partition = $2 returning epoch, next_offset";

const SEED: &str = "insert into pipeline.progress as p (class, partition, epoch, next_offset, owner) \
    values ($1, $2, 1, $4, $3) on conflict (class, partition) \
    do update set epoch = p.epoch + 1, owner = excluded.owner, updated_at = now() \
    returning epoch, next_offset";

const STORED: &str = "select epoch, next_offset from pipeline.progress \
    where class = $1 and partition = $2";

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
