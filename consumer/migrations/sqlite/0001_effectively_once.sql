-- The tables of one pipeline, in the pipeline's own file. Same meaning as on PostgreSQL; times are
-- milliseconds since the Unix epoch, JSON is text as it came.

create table pipeline (
    singleton integer primary key default 1 check (singleton = 1),
    name text not null,
    bucket_ms integer check (bucket_ms > 0)
) strict;

create table progress (
    class integer not null,
    partition integer not null,
    epoch integer not null,
    next_offset integer not null,
    owner text not null,
    updated_at integer not null,
    record_timestamp integer,
    primary key (class, partition)
) strict, without rowid;

-- The bucket comes first: expiry deletes one contiguous range of the tree.
create table processed_ids (
    bucket integer not null,
    digest blob not null,
    tenant text not null,
    class integer not null,
    partition integer not null,
    log_offset integer not null,
    payload_digest integer not null,
    primary key (bucket, digest, tenant)
) strict, without rowid;

create table events (
    class integer not null,
    partition integer not null,
    log_offset integer not null,
    tenant text not null,
    source text not null,
    id text not null,
    type text not null,
    subject text,
    time text,
    received_at integer not null,
    applied_at integer not null,
    data text not null,
    extensions text,
    primary key (class, partition, log_offset)
) strict;

create table parked (
    tenant text not null,
    digest blob not null,
    class integer not null,
    partition integer not null,
    log_offset integer not null,
    record_timestamp integer not null,
    payload_digest integer not null,
    reason text not null,
    sqlstate text,
    attempts integer not null default 1,
    key blob not null,
    value blob not null,
    headers text not null,
    state text not null default 'parked',
    parked_at integer not null,
    primary key (digest, tenant)
) strict;
