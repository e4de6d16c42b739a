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
