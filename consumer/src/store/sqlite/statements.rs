//! The statements on SQLite: rows come as one JSON text, offsets and identities as its columns.

/// ?1 class, ?2 partition, ?3 owner, ?4 floor. As on PostgreSQL.
pub(super) const CLAIM: &str = "update progress set epoch = max(epoch, ?4) + 1, owner = ?3, \
      attempts = case when ?4 = 0 and attempt_from = next_offset then attempts + \
        (attempt_to is null or attempt_epoch is epoch) else 0 end, \
      attempt_to = case when ?4 = 0 and attempt_from = next_offset then attempt_to end, \
      attempt_from = next_offset \
    where class = ?1 and partition = ?2 and (?4 = 0 or epoch <= ?4) \
    returning epoch, next_offset, attempts, attempt_to";

/// ?1 class, ?2 partition, ?3 epoch, ?4 position, ?5 end.
pub(super) const MARK: &str = "update progress \
    set attempts = case when attempt_from = ?4 and attempt_to = ?5 then attempts else 0 end, \
      attempt_from = ?4, attempt_to = ?5, attempt_epoch = ?3 \
    where class = ?1 and partition = ?2 and epoch = ?3 and next_offset = ?4";

/// ?1 class, ?2 partition, ?3 epoch.
pub(super) const RELEASE: &str = "update progress \
    set attempt_from = null, attempt_to = null, attempts = 0 \
    where class = ?1 and partition = ?2 and epoch = ?3";

/// ?1 class, ?2 partition, ?3 epoch, ?4 expected, ?5 target, ?6 now, ?7 the oldest timestamp.
pub(super) const FENCE: &str = "update progress set next_offset = ?5, updated_at = ?6, \
      record_timestamp = coalesce(?7, record_timestamp) \
    where class = ?1 and partition = ?2 and epoch = ?3 and next_offset = ?4";

/// ?1 ids, ?2 class, ?3 partition. Returns the offsets of those that are new.
pub(super) const INSERT_IDS: &str = "with batch as materialized (select \
      json_extract(value, '$[0]') as log_offset, json_extract(value, '$[1]') as bucket, \
      json_extract(value, '$[2]') as tenant, unhex(json_extract(value, '$[3]')) as digest, \
      json_extract(value, '$[4]') as payload_digest from json_each(?1)) \
    insert into processed_ids \
      (bucket, digest, tenant, class, partition, log_offset, payload_digest) \
    select b.bucket, b.digest, b.tenant, ?2, ?3, b.log_offset, b.payload_digest from batch b \
    where not exists (select 1 from processed_ids p where p.bucket in (b.bucket - 1, b.bucket + 1) \
        and p.digest = b.digest and p.tenant = b.tenant) \
      and not exists (select 1 from parked k where k.digest = b.digest and k.tenant = b.tenant) \
    on conflict do nothing returning log_offset";

/// ?1 events whose id was inserted now, ?2 class, ?3 partition, ?4 now. Returns the offsets of the fresh
/// ones. A record that has its event has had its effect: it is read again, maybe from before the ids that
/// are kept.
pub(super) const INSERT_EVENTS: &str = "with batch as materialized (select \
      json_extract(value, '$[0]') as log_offset, json_extract(value, '$[1]') as tenant, \
      json_extract(value, '$[2]') as received_at, json_extract(value, '$[3]') as source, \
      json_extract(value, '$[4]') as id, json_extract(value, '$[5]') as type, \
      json_extract(value, '$[6]') as subject, json_extract(value, '$[7]') as time, \
      json_extract(value, '$[8]') as data, json_extract(value, '$[9]') as extensions \
      from json_each(?1)) \
    insert into events (class, partition, log_offset, tenant, source, id, type, subject, time, \
      received_at, applied_at, data, extensions) \
    select ?2, ?3, b.log_offset, b.tenant, b.source, b.id, b.type, b.subject, b.time, \
      b.received_at, ?4, b.data, b.extensions \
    from batch b \
    where not exists (select 1 from events e where e.class = ?2 and e.partition = ?3 \
        and e.log_offset = b.log_offset \
        and e.tenant = b.tenant and e.source = b.source and e.id = b.id) \
    returning log_offset";

/// ?1 parked, ?2 class, ?3 partition, ?4 now, ?5 epoch.
pub(super) const INSERT_PARKED: &str = "with batch as materialized (select \
      json_extract(value, '$[0]') as log_offset, json_extract(value, '$[1]') as bucket, \
      json_extract(value, '$[2]') as tenant, unhex(json_extract(value, '$[3]')) as digest, \
      json_extract(value, '$[4]') as payload_digest, json_extract(value, '$[5]') as record_timestamp, \
      json_extract(value, '$[6]') as reason, json_extract(value, '$[7]') as sqlstate, \
      unhex(json_extract(value, '$[8]')) as key, unhex(json_extract(value, '$[9]')) as value, \
      json_extract(value, '$[10]') as headers, json_extract(value, '$[11]') as attempts, \
      json_extract(value, '$[12]') as retry_ms, json_extract(value, '$[13]') as tries, \
      json_extract(value, '$[14]') as entity from json_each(?1)) \
    insert into parked (tenant, digest, class, partition, log_offset, record_timestamp, \
      payload_digest, reason, sqlstate, key, value, headers, parked_at, attempts, state, \
      next_try_at, tries_left, entity, epoch) \
    select b.tenant, b.digest, ?2, ?3, b.log_offset, b.record_timestamp, b.payload_digest, b.reason, \
      b.sqlstate, b.key, b.value, b.headers, ?4, b.attempts, \
      case when b.retry_ms is null and b.reason <> 'behind' then 'dead' else 'parked' end, ?4 + b.retry_ms, b.tries, \
      b.entity, ?5 from batch b \
    where not exists (select 1 from processed_ids p \
      where p.bucket in (b.bucket - 1, b.bucket, b.bucket + 1) \
        and p.digest = b.digest and p.tenant = b.tenant) \
    on conflict do nothing";

/// ?1 ids. An id that was inserted now has its own payload digest and does not count.
pub(super) const COUNT_CONFLICTS: &str = "with batch as materialized (select \
      json_extract(value, '$[1]') as bucket, json_extract(value, '$[2]') as tenant, \
      unhex(json_extract(value, '$[3]')) as digest, \
      json_extract(value, '$[4]') as payload_digest from json_each(?1)) \
    select count(*) from batch b where exists (select 1 from processed_ids p \
        where p.bucket in (b.bucket - 1, b.bucket, b.bucket + 1) and p.digest = b.digest \
          and p.tenant = b.tenant and p.payload_digest <> b.payload_digest) \
      or exists (select 1 from parked k where k.digest = b.digest and k.tenant = b.tenant \
          and k.payload_digest <> b.payload_digest)";

/// ?1 digest, ?2 tenant. Steps from bucket to bucket through the key, never over the ids.
pub(super) const FIND_APPLIED: &str = "with recursive b(bucket) as (select min(bucket) from processed_ids \
      union all select (select min(p.bucket) from processed_ids p where p.bucket > b.bucket) from b \
        where b.bucket is not null) \
    select p.class, p.partition, p.log_offset, e.applied_at \
    from b cross join processed_ids p on p.bucket = b.bucket and p.digest = ?1 and p.tenant = ?2 \
      left join events e on e.class = p.class and e.partition = p.partition \
        and e.log_offset = p.log_offset \
    order by p.bucket desc limit 1";

/// ?1 n. The last n of each partition, then the last n of those.
pub(super) const TAIL: &str = "select e.class, e.partition, e.log_offset, e.tenant, e.source, e.id, e.type, \
      e.subject, e.received_at, e.applied_at, e.data \
    from progress p join events e on e.rowid in (select l.rowid from events l \
      where l.class = p.class and l.partition = p.partition order by l.log_offset desc limit ?1) \
    order by e.applied_at desc, e.log_offset desc limit ?1";

/// ?1 partitions as [class, partition], ?2 now. What waits behind others may have its turn.
pub(super) const DUE: &str = "select p.class, p.partition from (select \
      json_extract(value, '$[0]') as class, json_extract(value, '$[1]') as partition \
      from json_each(?1)) p \
    where exists (select 1 from parked k where k.class = p.class and k.partition = p.partition \
        and k.state = 'parked' and k.next_try_at is not null and k.next_try_at <= ?2) \
      or exists (select 1 from parked k where k.class = p.class and k.partition = p.partition \
        and k.state = 'parked' and k.reason = 'behind' and k.next_try_at is null)";

/// ?1 class, ?2 partition, ?3 entities as texts. As on PostgreSQL.
pub(super) const WAITING: &str = "select e.value as entity from json_each(?3) e \
    where exists (select 1 from parked k where k.class = ?1 and k.partition = ?2 \
      and k.entity = e.value and k.state = 'parked') \
    union all select null where exists (select 1 from parked k where k.class = ?1 \
      and k.partition = ?2 and k.entity is not null and k.state = 'parked')";

/// ?1 class, ?2 partition, ?3 epoch, ?4 now, ?5 rows, ?6 lease and ?7 its step, milliseconds.
pub(super) const PICK: &str = "with due as materialized (\
      select rowid as row, row_number() over (order by next_try_at, log_offset) as rank from parked \
      where class = ?1 and partition = ?2 and state = 'parked' and next_try_at is not null \
        and next_try_at <= ?4 and exists (select 1 from progress where class = ?1 \
          and partition = ?2 and epoch = ?3) \
      order by next_try_at, log_offset limit ?5) \
    update parked set tries_left = tries_left - 1, attempts = attempts + 1, \
      next_try_at = ?4 + ?6 + due.rank * ?7 \
    from due where parked.rowid = due.row \
    returning tenant, digest, class, partition, log_offset, record_timestamp, reason, tries_left, \
      key, value, headers, entity, false as follows";

/// The same, of each entity only the first that is parked: no other is tried before it.
pub(super) const PICK_IN_ORDER: &str = "with due as materialized (\
      select rowid as row, row_number() over (order by next_try_at, log_offset) as rank from parked k \
      where class = ?1 and partition = ?2 and state = 'parked' and next_try_at is not null \
        and next_try_at <= ?4 and exists (select 1 from progress where class = ?1 \
          and partition = ?2 and epoch = ?3) \
        and (entity is null or log_offset <= (select min(f.log_offset) from parked f \
          where f.class = ?1 and f.partition = ?2 and f.entity = k.entity and f.state = 'parked')) \
      order by next_try_at, log_offset limit ?5) \
    update parked set tries_left = tries_left - 1, attempts = attempts + 1, \
      next_try_at = ?4 + ?6 + due.rank * ?7 \
    from due where parked.rowid = due.row \
    returning tenant, digest, class, partition, log_offset, record_timestamp, reason, tries_left, \
      key, value, headers, entity, false as follows";

/// ?1 class, ?2 partition, ?3 [entity, offset] of first ones, ?4 now, ?5 rows. What waits right behind
/// them.
pub(super) const FOLLOWERS: &str = "with first as materialized (select \
      json_extract(value, '$[0]') as entity, json_extract(value, '$[1]') as log_offset \
      from json_each(?3)) \
    select tenant, digest, class, partition, log_offset, record_timestamp, reason, tries_left, key, \
      value, headers, entity, true as follows \
    from (select f.*, min(f.reason = 'behind' and coalesce(f.next_try_at <= ?4, true)) \
        over (partition by f.entity order by f.log_offset) as all_wait \
      from first h cross join parked f on f.rowid in (select n.rowid from parked n \
        where n.class = ?1 and n.partition = ?2 and n.entity = h.entity and n.state = 'parked' \
          and n.log_offset > h.log_offset order by n.log_offset limit ?5)) \
    where all_wait order by log_offset limit ?5";

/// ?1 class, ?2 partition, ?3 epoch, ?4 now. What waits behind nothing any more is due. Steps from entity
/// to entity through the index.
pub(super) const ARM: &str = "with recursive e(entity) as (\
      select min(entity) from parked where class = ?1 and partition = ?2 \
        and reason = 'behind' and state = 'parked' and next_try_at is null \
      union all select (select min(k.entity) from parked k where k.class = ?1 and k.partition = ?2 \
        and k.reason = 'behind' and k.state = 'parked' and k.next_try_at is null \
        and k.entity > e.entity) from e where e.entity is not null) \
    update parked set next_try_at = ?4 \
    where rowid in (select (select f.rowid from parked f where f.class = ?1 and f.partition = ?2 \
        and f.entity = e.entity and f.state = 'parked' order by f.log_offset limit 1) \
      from e where e.entity is not null) \
      and reason = 'behind' and next_try_at is null \
      and exists (select 1 from progress where class = ?1 and partition = ?2 and epoch = ?3)";

/// The same whatever it waits behind.
pub(super) const ARM_ALL: &str = "update parked set next_try_at = ?4 \
    where class = ?1 and partition = ?2 and reason = 'behind' and state = 'parked' \
      and next_try_at is null \
      and exists (select 1 from progress where class = ?1 and partition = ?2 and epoch = ?3)";

/// ?1 class, ?2 partition, ?3 epoch.
pub(super) const HOLDS: &str =
    "select count(*) from progress where class = ?1 and partition = ?2 and epoch = ?3";

/// ?1 tenant, ?2 digest, ?3 class, ?4 partition, ?5 offset.
pub(super) const TAKE: &str = "delete from parked where tenant = ?1 and digest = ?2 and class = ?3 \
    and partition = ?4 and log_offset = ?5 and state = 'parked'";

/// ?1 digest, ?2 tenant, ?3 bucket: whether its id is there or beside it.
pub(super) const SEEN: &str = "select exists (select 1 from processed_ids where digest = ?1 \
    and tenant = ?2 and bucket in (?3 - 1, ?3, ?3 + 1))";

/// ?1 tenant, ?2 digest, ?3 tries left after the pick-up, ?4 now, ?5 the wait or null, ?6 tries
/// given back, ?7 reason or null, ?8 the database's code.
pub(super) const SETTLE: &str = "update parked set \
      state = case when ?5 is null then 'dead' else 'parked' end, next_try_at = ?4 + ?5, \
      tries_left = max(0, tries_left + ?6), attempts = attempts - ?6, \
      reason = coalesce(?7, reason), sqlstate = case when ?7 is null then sqlstate else ?8 end \
    where tenant = ?1 and digest = ?2 and tries_left = ?3 and state = 'parked'";

/// ?1 class, ?2 partition, ?3 epoch, ?4 position, ?5 when.
pub(super) const CAUGHT_UP: &str = "update progress set caught_up_at = max(coalesce(caught_up_at, ?5), ?5) \
    where class = ?1 and partition = ?2 and epoch = ?3 and next_offset >= ?4";

/// ?1 now. The oldest bucket where it is due; the rule is PostgreSQL's view due_buckets.
pub(super) const DUE_BUCKET: &str = "with passed as (select coalesce(max(record_timestamp, caught_up_at), \
        record_timestamp, caught_up_at) as passed_ms from progress), \
      slowest as (select min(min(passed_ms), ?1) as passed_ms from passed \
        having count(*) = count(passed_ms)) \
    select b.bucket from (select min(bucket) as bucket from processed_ids) b, pipeline p, slowest s \
    where (b.bucket + 2) * p.bucket_ms + min(p.bucket_ms, 3600000) <= s.passed_ms";

/// ?1 bucket.
pub(super) const FORGET: &str = "update pipeline \
    set ids_forgotten_through = max(coalesce(ids_forgotten_through, ?1), ?1)";

/// ?1 bucket, ?2 the slice's size less one. A digest has 16 bytes: one of 17 is behind them all.
pub(super) const DELETE_SLICE: &str = "delete from processed_ids where bucket = ?1 and digest <= coalesce( \
    (select digest from processed_ids where bucket = ?1 order by digest, tenant limit 1 offset ?2), \
    x'ffffffffffffffffffffffffffffffffff')";

/// ?1 now. Steps from bucket to bucket through the key; the slowest partition stands beside.
pub(super) const ID_BUCKETS: &str = "with recursive b(bucket) as (select min(bucket) from processed_ids \
      union all select (select min(p.bucket) from processed_ids p where p.bucket > b.bucket) from b \
        where b.bucket is not null), \
    s as (select class, partition from progress \
      order by min(coalesce(max(record_timestamp, caught_up_at), record_timestamp, caught_up_at), ?1) \
        nulls first, class, partition limit 1) \
    select (select count(bucket) from b) as count, (select min(bucket) from b) as oldest, \
      (select class from s) as class, (select partition from s) as partition";

pub(super) const FORGOTTEN_BEFORE: &str =
    "select (ids_forgotten_through + 1) * bucket_ms from pipeline";
