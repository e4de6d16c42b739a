-- One batch, one statement, one round trip, committed by itself: a paused process never holds the
-- row's lock. "pipeline." is replaced by the pipeline's schema.
--
-- The look-ups in processed_ids and parked are scalar subqueries on purpose: those are never turned
-- into a join, so whatever the statistics say they go through the key.
with fence as (
    update pipeline.progress
    set next_offset = $5, updated_at = now(),
        record_timestamp = coalesce($6, record_timestamp)
    where class = $1 and partition = $2 and epoch = $3 and next_offset = $4
    returning 1
),
-- The buckets all of whose ids we know, as far as this statement sees them: their mark is there.
known as materialized (
    select s.bucket
    from unnest($36::bigint[], $37::text[]) as k (bucket, mark)
        join pipeline.sealed_buckets s on s.bucket = k.bucket and s.mark = k.mark
),
batch as materialized (
    select b.*,
        coalesce(
            case when not (b.unseen and b.bucket - 1 in (select n.bucket from known n)) then
                (select p.payload_digest from pipeline.processed_ids p
                 where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket - 1)
            end,
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket + 1),
            (select k.payload_digest from pipeline.parked k
             where k.digest = b.digest and k.tenant = b.tenant)
        ) as seen,
        -- Where neighbouring ids are forgotten: a record that has its event has had its effect, and is
        -- read again from long ago. Its id is kept all the same, for a repeat that stands behind it.
        coalesce(
            case when b.bucket <= (select i.ids_forgotten_through + 1 from pipeline.pipeline i) then
                (select true from pipeline.events e
                 where e.class = $1 and e.partition = $2 and e.log_offset = b.log_offset
                    and e.tenant = b.tenant and e.source = b.source and e.id = b.id)
            end,
            false
        ) as applied_before
    from unnest(
        $7::bigint[], $8::bigint[], $9::text[], $10::bytea[], $11::bigint[], $12::bigint[],
        $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[],
        $35::boolean[]
    ) as b (
        log_offset, bucket, tenant, digest, payload_digest, received_ms,
        source, id, type, subject, time, data, extensions, unseen
    )
    where exists (select 1 from fence)
),
kept as (
    insert into pipeline.processed_ids
        (bucket, tenant, digest, class, partition, log_offset, payload_digest)
    select bucket, tenant, digest, $1, $2, log_offset, payload_digest
    from batch where seen is null
    on conflict do nothing
    returning log_offset
),
fresh as (
    select log_offset from kept join batch using (log_offset) where not applied_before
),
-- {applied}
-- {outbox from $38}
-- What was not inserted, with the payload that the identity had first.
repeated as (
    select b.payload_digest,
        coalesce(b.seen,
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket)
        ) as first_digest
    from batch b where b.log_offset not in (select f.log_offset from fresh f)
),
-- {undone}
poisoned as (
    insert into pipeline.parked
        (tenant, digest, class, partition, log_offset, record_timestamp, payload_digest, reason,
         sqlstate, key, value, headers, attempts, state, next_try_at, tries_left, entity, epoch)
    select b.tenant, b.digest, $1, $2, b.log_offset, b.record_timestamp, b.payload_digest, b.reason,
        b.sqlstate, b.key, b.value, b.headers::jsonb, b.attempts,
        case when b.retry_ms is null and b.reason <> 'behind' then 'dead' else 'parked' end,
        now() + b.retry_ms * interval '1 ms', b.tries, b.entity, $3
    from unnest(
        $20::bigint[], $21::bigint[], $22::text[], $23::bytea[], $24::bigint[], $25::bigint[],
        $26::text[], $27::text[], $28::bytea[], $29::bytea[], $30::text[], $31::integer[],
        $32::bigint[], $33::integer[], $34::text[]
    ) as b (
        log_offset, bucket, tenant, digest, payload_digest, record_timestamp,
        reason, sqlstate, key, value, headers, attempts, retry_ms, tries, entity
    )
    where exists (select 1 from fence)
        -- An identity that has had its effect is a repetition, not a record to try again.
        and coalesce(
            (select 1 from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket - 1),
            (select 1 from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket),
            (select 1 from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket + 1)
        ) is null
    on conflict do nothing
    returning 1
)
select
    exists (select 1 from fence) as owned,
    (select count(*) from applied) as fresh,
    (select count(*) from poisoned) as parked,
    (select count(*) from repeated where first_digest <> payload_digest) as conflicts,
    (select count(*) from batch b where b.unseen and b.bucket - 1 in (select n.bucket from known n))
        as spared,
    (select count(*) from batch b where b.bucket - 1 = any($36) and not b.unseen and b.seen is not null)
        as met
