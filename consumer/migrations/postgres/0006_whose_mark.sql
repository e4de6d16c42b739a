-- Whose mark it is that an owner died under; statements that only try whether they pass; and one
-- pipeline's buckets are no other's.

-- The epoch of the claim that marked the attempt (progress.attempt_to). Who ends without a mark of its
-- own did not have the marked record in hand: its end counts for no record.
alter table progress add column attempt_epoch bigint;

-- A row in here undoes the statement that writes it, at its very end: so it is known that all the rest
-- of it passes, and nothing of it stays.
create table undone (id smallint);
create function shock_undo() returns trigger language plpgsql as $$
begin
    raise exception 'it was only tried' using errcode = 'SH002';
end
$$;
create constraint trigger undone after insert on undone deferrable initially deferred
    for each row execute function shock_undo();

-- The lock is the pipeline's, which is the schema's: a database may hold several.
create or replace function shock_ensure_buckets(first_bucket bigint, last_bucket bigint) returns void
language plpgsql security definer set search_path from current as $$
declare
    bucket bigint;
    name text;
begin
    if last_bucket - first_bucket not between 0 and 511 then
        raise exception 'at most 512 buckets at a time' using errcode = '54000';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('shock_ensure_buckets ' || current_schema(), 0));
    for bucket in select generate_series(first_bucket, last_bucket) loop
        name := 'processed_ids_' || replace(bucket::text, '-', 'm');
        if to_regclass(quote_ident(name)) is null then
            execute format('create table %I (like processed_ids including all)', name);
            execute format('alter table processed_ids attach partition %I for values in (%s)', name, bucket);
        end if;
    end loop;
end
$$;

create or replace function shock_drop_buckets(wait_ms integer, buckets_max integer) returns setof bigint
language plpgsql security definer set search_path from current as $$
declare
    due record;
begin
    if wait_ms not between 1 and 10000 or buckets_max not between 1 and 64 then
        raise exception 'wait_ms is 1 to 10000, buckets_max 1 to 64' using errcode = '22023';
    end if;
    -- Somebody else is at it, or makes a bucket: another time.
    if not pg_try_advisory_xact_lock(
        hashtextextended('shock_ensure_buckets ' || current_schema(), 0))
    then
        return;
    end if;
    if not exists (select 1 from due_buckets) then
        return;
    end if;
    perform set_config('lock_timeout', wait_ms::text, true);
    lock table only processed_ids in access exclusive mode;
    -- From here on no batch runs. Looked up again, for it may have been a while.
    for due in select bucket, name from due_buckets order by bucket limit buckets_max loop
        begin
            -- A vacuum may be on it; the batches do not wait for that.
            execute format('lock table only %I in access exclusive mode nowait', due.name);
            execute format('drop table %I', due.name);
        exception when lock_not_available then
            continue;
        end;
        update pipeline
        set ids_forgotten_through = greatest(ids_forgotten_through, due.bucket);
        return next due.bucket;
    end loop;
end
$$;
