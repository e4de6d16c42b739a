-- Closed buckets of ids whose ids somebody has read. Each has a mark, which goes with the first id that
-- is added to the bucket afterwards, whoever adds it: a late record's writer, a redrive, a replay, an
-- older program, an operator. So a process that has read all ids under a mark, and finds the mark in a
-- statement's own snapshot, knows every id of the bucket that this snapshot has. docs/adr/0004 has the
-- proof; it holds for a database that was restored as well, for a mark is never given twice.
create table sealed_buckets (
    bucket bigint primary key,
    mark text not null default gen_random_uuid()::text
);

-- Takes the mark away, in the transaction that adds the id.
create function shock_unseal() returns trigger
language plpgsql security definer set search_path from current as $$
begin
    -- On another level the statement below would not see a seal that is younger than the transaction.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'an id is added to a sealed bucket in a transaction that is not read committed'
            using errcode = '40001';
    end if;
    delete from sealed_buckets where bucket = new.bucket;
    return null;
end
$$;

-- Seals a bucket and gives its mark, the one it has where it is sealed; null where there is no such
-- bucket. Waits at most wait_ms for those who are just adding ids, and for a vacuum; others who come to
-- add some wait as long.
create function shock_seal_bucket(wanted bigint, wait_ms integer) returns text
language plpgsql security definer set search_path from current as $$
declare
    name text := 'processed_ids_' || replace(wanted::text, '-', 'm');
    found_mark text;
begin
    if wait_ms not between 1 and 10000 then
        raise exception 'wait_ms is 1 to 10000' using errcode = '22023';
    end if;
    if to_regclass(quote_ident(name)) is null then
        return null;
    end if;
    select mark into found_mark from sealed_buckets where bucket = wanted;
    if found then
        return found_mark;
    end if;
    perform set_config('lock_timeout', wait_ms::text, true);
    -- Who has added an id before is committed when this is ours, and is seen by whoever reads under the
    -- mark; who adds one afterwards meets the trigger, and the trigger the mark.
    execute format('lock table only %I in share row exclusive mode', name);
    if not exists (
        select 1 from pg_trigger where tgrelid = to_regclass(quote_ident(name)) and tgname = 'shock_unseal'
    ) then
        execute format(
            'create trigger shock_unseal after insert or update on %I for each row execute function shock_unseal()',
            name
        );
    end if;
    -- Also where ids come from a replication, or with triggers turned off.
    execute format('alter table %I enable always trigger shock_unseal', name);
    delete from sealed_buckets s where not exists (select 1 from id_buckets b where b.bucket = s.bucket);
    insert into sealed_buckets (bucket) values (wanted)
        on conflict (bucket) do update set bucket = excluded.bucket returning mark into found_mark;
    return found_mark;
end
$$;
revoke execute on function shock_unseal, shock_seal_bucket from public;

-- As before, and a bucket that is made anew has no mark of its former life.
create or replace function shock_ensure_buckets(first_bucket bigint, last_bucket bigint) returns void
language plpgsql security definer set search_path from current as $$
declare
    number bigint;
    name text;
begin
    if last_bucket - first_bucket not between 0 and 511 then
        raise exception 'at most 512 buckets at a time' using errcode = '54000';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('shock_ensure_buckets ' || current_schema(), 0));
    for number in select generate_series(first_bucket, last_bucket) loop
        name := 'processed_ids_' || replace(number::text, '-', 'm');
        if to_regclass(quote_ident(name)) is null then
            delete from sealed_buckets where bucket = number;
            execute format('create table %I (like processed_ids including all)', name);
            execute format('alter table processed_ids attach partition %I for values in (%s)', name, number);
        end if;
    end loop;
end
$$;
