-- The outbox. Same meaning as on PostgreSQL, where it is written down.
create table outbox (
    seq integer primary key autoincrement,
    sink text not null,
    class integer not null,
    partition integer not null,
    log_offset integer not null,
    message_id text not null,
    entity text,
    record_timestamp integer not null,
    key blob not null,
    value blob not null,
    headers text not null,
    state text not null default 'waiting',
    attempts integer not null default 0,
    next_try_at integer,
    reason text,
    created_at integer not null
) strict;

create index outbox_in_order on outbox (sink, class, partition, seq);
create index outbox_failed on outbox (sink, entity, seq) where attempts > 0 and state = 'waiting';
create index outbox_dead on outbox (sink, seq) where state = 'dead';
