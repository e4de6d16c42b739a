-- The tables of one pipeline, in the pipeline's own schema (the search_path of the migration).
-- The owner of this schema migrates; the runtime role reads and writes rows and makes no tables,
-- except through shock_ensure_buckets.

-- The one row that says what this schema was made for.
create table pipeline (
    singleton boolean primary key default true check (singleton),
    name text not null,
    -- Ids are numbered by it: another width would make every stored id invisible.
    bucket_ms bigint check (bucket_ms > 0)
);

-- One row per partition: the fence and the position, changed together or not at all.
create table progress (
    class smallint not null,
    partition integer not null,
    epoch bigint not null,
    next_offset bigint not null,
    owner text not null,
    updated_at timestamptz not null default now(),
    -- The timestamp of the last record before next_offset, in milliseconds.
    record_timestamp bigint,
    primary key (class, partition)
) with (fillfactor = 50);

-- Which identities have had their effect, in buckets of the record's timestamp. A bucket is one
-- table, so that expiry drops tables. The key has the bucket last: an identity is found in each
-- bucket's index without knowing the bucket.
create table processed_ids (
    bucket bigint not null,
    tenant text collate "C" not null,
    digest bytea not null,
    class smallint not null,
    partition integer not null,
    log_offset bigint not null,
    payload_digest bigint not null,
    primary key (digest, tenant, bucket)
) partition by list (bucket);

-- The effects. time is text: a foreign writer's time that is none must not stop the record.
create table events (
    class smallint not null,
    partition integer not null,
    log_offset bigint not null,
    tenant text not null,
    source text not null,
    id text not null,
    type text not null,
    subject text,
    time text,
    received_at timestamptz not null,
    applied_at timestamptz not null default now(),
    data jsonb not null,
    extensions jsonb,
    primary key (class, partition, log_offset)
);

-- What could not be applied, whole, so that it can be looked at and tried again.
create table parked (
    tenant text collate "C" not null,
    digest bytea not null,
    class smallint not null,
    partition integer not null,
    log_offset bigint not null,
    record_timestamp bigint not null,
    payload_digest bigint not null,
    reason text not null,
    sqlstate text,
    attempts integer not null default 1,
    key bytea not null,
    value bytea not null,
    headers jsonb not null,
    state text not null default 'parked',
    parked_at timestamptz not null default now(),
    primary key (digest, tenant)
);

-- Makes the tables of buckets first_bucket to last_bucket. The only DDL the runtime role can reach.
-- Attaching takes a lock that lets writers of other buckets go on; "partition of" would not.
create function shock_ensure_buckets(first_bucket bigint, last_bucket bigint) returns void
language plpgsql security definer set search_path from current as $$
declare
    bucket bigint;
    name text;
begin
    if last_bucket - first_bucket not between 0 and 511 then
        raise exception 'at most 512 buckets at a time' using errcode = '54000';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('shock_ensure_buckets', 0));
    for bucket in select generate_series(first_bucket, last_bucket) loop
        name := 'processed_ids_' || replace(bucket::text, '-', 'm');
        if to_regclass(quote_ident(name)) is null then
            execute format('create table %I (like processed_ids including all)', name);
            execute format('alter table processed_ids attach partition %I for values in (%s)', name, bucket);
        end if;
    end loop;
end
$$;
revoke execute on function shock_ensure_buckets from public;
