-- The effects of the events in "fresh", for every statement that applies events: a batch, and the
-- retry of what was parked. It needs the CTEs batch (the events, as apply.sql names their columns)
-- and fresh (log_offset: those whose identity was inserted now), and $1 class, $2 partition; it uses
-- no other parameter, because the statements number theirs differently.
-- Joined back on the offset, not on the identity: only the record whose insert made the id counts.
shock_fresh as (
    select b.log_offset, b.tenant, b.source, b.id, b.type, b.subject, b.time,
        to_timestamp(b.received_ms / 1000.0) as received_at, b.data::jsonb as data, b.extensions
    from batch b join fresh using (log_offset)
),
applied as (
    insert into pipeline.events
        (class, partition, log_offset, tenant, source, id, type, subject, time, received_at,
         data, extensions)
    select $1, $2, log_offset, tenant, source, id, type, subject, time, received_at, data,
        extensions::jsonb
    from shock_fresh
    returning 1
),
-- {projections}
