-- What goes to sinks, of the events in "fresh": only in stores that have sinks.
shock_outbox as (
    insert into pipeline.outbox
        (sink, class, partition, log_offset, message_id, entity, record_timestamp, key, value, headers)
    select o.sink, $1, $2, o.log_offset, o.message_id, o.entity, o.record_timestamp, o.key, o.value,
        o.headers
    from unnest({text[]}, {bigint[]}, {text[]}, {text[]}, {bigint[]}, {bytea[]}, {bytea[]}, {text[]})
        as o (sink, log_offset, message_id, entity, record_timestamp, key, value, headers)
    join fresh using (log_offset)
    -- The order of seq.
    order by o.log_offset, o.sink
),
