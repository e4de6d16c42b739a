-- Ids are forgotten: a bucket is dropped, whole, when no record that could repeat one of its ids can
-- still be unread. The rule is in due_buckets; docs/adr/0004 says why it is that.

alter table pipeline
    -- Ids in buckets up to this one may be gone.
    add column ids_forgotten_through bigint;

-- From here on progress.record_timestamp is the oldest plausible timestamp among the records of the
-- last batch: one record from a clock that is ahead must not stand for what comes behind it.
alter table progress
    -- What was in the log at this time, in milliseconds, has been applied: an idle partition's word.
    add column caught_up_at bigint;

-- Whoever moves a position back has passed only what he says.
create function shock_position_moved_back() returns trigger
language plpgsql set search_path from current as $$
begin
    if new.record_timestamp is not distinct from old.record_timestamp then
        new.record_timestamp := null;
    end if;
    new.caught_up_at := null;
    return new;
end
$$;
create trigger position_moved_back before update on progress for each row
    when (new.next_offset < old.next_offset) execute function shock_position_moved_back();

-- Up to which time each position has passed the records, in milliseconds; null where that is not
-- known. Nobody has passed the future.
create view passed as
select class, partition,
    case when coalesce(record_timestamp, caught_up_at) is not null then
        least(greatest(record_timestamp, caught_up_at), (extract(epoch from now()) * 1000)::bigint)
    end as passed_ms
from progress;

-- The buckets there are.
create view id_buckets as
select substring(pg_get_expr(c.relpartbound, c.oid) from '-?\d+')::bigint as bucket, c.relname as name
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'processed_ids'::regclass;

-- The buckets that every position has passed by a window: their last id is then older than a window,
-- and the bucket after them, whose records ask this one, is read. The records of a partition are in
-- order only as far as clocks and retries go: an hour more, or a narrower window's own width.
create view due_buckets as
select b.bucket, b.name
from id_buckets b, pipeline p,
    (select case when bool_and(passed_ms is not null) then min(passed_ms) end as passed_ms
     from passed) slowest
where (b.bucket + 2) * p.bucket_ms + least(p.bucket_ms, 3600000) <= slowest.passed_ms;

-- Drops buckets that are due, at most so many, and says which: whoever calls, it drops no other. The
-- runtime role's only way to drop anything.
--
-- A table that belongs to a partitioned one is dropped under a lock on the whole, which waits for
-- running batches while later ones wait behind it: at most wait_ms, then it fails with 55P03 and the
-- batches go on. Detaching concurrently would not lock them out, but cannot be done in a function.
create function shock_drop_buckets(wait_ms integer, buckets_max integer) returns setof bigint
language plpgsql security definer set search_path from current as $$
declare
    due record;
begin
    if wait_ms not between 1 and 10000 or buckets_max not between 1 and 64 then
        raise exception 'wait_ms is 1 to 10000, buckets_max 1 to 64' using errcode = '22023';
    end if;
    -- Somebody else is at it, or makes a bucket: another time.
    if not pg_try_advisory_xact_lock(hashtextextended('shock_ensure_buckets', 0)) then
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
revoke execute on function shock_drop_buckets from public;
