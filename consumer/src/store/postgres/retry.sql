-- One try of parked rows, one statement: their identities are inserted, their effects applied and
-- their rows deleted, all or nothing, under the fence and without moving the position. Who comes
-- second to a row finds it gone (or dropped by an operator) and has no effect.
with fence as materialized (
    select 1 from pipeline.progress where class = $1 and partition = $2 and epoch = $3 for update
),
gone as (
    delete from pipeline.parked k
    using unnest($4::bigint[], $17::text[], $18::bytea[]) as b (log_offset, tenant, digest)
    where k.digest = b.digest and k.tenant = b.tenant and k.state = 'parked'
        and k.class = $1 and k.partition = $2 and k.log_offset = b.log_offset
        and exists (select 1 from fence)
    returning k.log_offset
),
-- Seen: in the buckets beside the one where its id will be, and in its record's own and beside it.
batch as materialized (
    select b.*,
        coalesce(
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket - 1),
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.bucket + 1),
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.own_bucket - 1),
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.own_bucket),
            (select p.payload_digest from pipeline.processed_ids p
             where p.digest = b.digest and p.tenant = b.tenant and p.bucket = b.own_bucket + 1)
        ) as seen
    from unnest(
        $4::bigint[], $5::bigint[], $6::text[], $7::bytea[], $8::bigint[], $9::bigint[],
        $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
        $19::bigint[]
    ) as b (
        log_offset, bucket, tenant, digest, payload_digest, received_ms,
        source, id, type, subject, time, data, extensions, own_bucket
    )
    join gone using (log_offset)
),
fresh as (
    insert into pipeline.processed_ids
        (bucket, tenant, digest, class, partition, log_offset, payload_digest)
    select bucket, tenant, digest, $1, $2, log_offset, payload_digest
    from batch where seen is null
    on conflict do nothing
    returning log_offset
),
-- {applied}
-- {outbox from $20}
-- A replay of the log looks into the record's own bucket, unless that is expired.
own as (
    insert into pipeline.processed_ids
        (bucket, tenant, digest, class, partition, log_offset, payload_digest)
    select own_bucket, tenant, digest, $1, $2, log_offset, payload_digest
    from batch join fresh using (log_offset)
    where to_regclass('pipeline.processed_ids_' || replace(own_bucket::text, '-', 'm')) is not null
    on conflict do nothing
)
select
    exists (select 1 from fence) as owned,
    (select count(*) from gone) as found,
    (select count(*) from applied) as fresh
