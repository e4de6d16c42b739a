-- The outbox: what goes elsewhere than this database is a row here, inserted in the transaction that
-- has the effect, and sent by a relay afterwards.
--
-- A row is deleted when it was sent. seq is drawn by the partition's one writer, statement by statement,
-- so within a partition it is the order of commits: a relay that has passed a number never finds an
-- earlier one come later.
create table outbox (
    seq bigint generated always as identity,
    sink text collate "C" not null,
    -- The record that it is of, or that made it.
    class smallint not null,
    partition integer not null,
    log_offset bigint not null,
    -- The same each time that it is sent, also after a replay into a restored database.
    message_id text not null,
    -- What must not overtake one another; null: nothing.
    entity text collate "C",
    record_timestamp bigint not null,
    key bytea not null,
    value bytea not null,
    headers text not null,
    -- waiting, or dead: refused for good, kept until an operator decides.
    state text not null default 'waiting',
    attempts integer not null default 0,
    next_try_at timestamptz,
    reason text,
    created_at timestamptz not null default now(),
    primary key (sink, class, partition, seq)
)
-- Rows come and go at the rate of events: vacuum by their number, not by a share of what once was.
with (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 1
);

-- What waits for its next try: others of its entity wait behind it. Nothing is in it while nothing fails.
create index outbox_failed on outbox (sink, entity, seq) where attempts > 0 and state = 'waiting';
create index outbox_dead on outbox (sink, seq) where state = 'dead';
