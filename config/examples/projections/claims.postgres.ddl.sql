-- What became of each claim, in the order in which it was recorded. Each row's hash is over the hash
-- before it: whoever changes or takes away a row breaks the chain behind it, and claims_broken says so.
create table claims (
    tenant text not null,
    claim text not null,
    -- 1, 2, 3 … within the claim.
    number bigint not null,
    type text not null,
    -- In cents, where the event has one.
    amount bigint,
    -- When it happened, by the event, and when we heard of it.
    happened_at timestamptz not null,
    recorded_at timestamptz not null,
    source text not null,
    id text not null,
    data jsonb,
    previous bytea not null,
    hash bytea not null,
    primary key (tenant, claim, number)
);

-- Who consumes may add rows, and neither change nor delete one.
revoke all on claims from public;
grant select, insert on claims to {runtime_role};

-- What of a row the hash is over. The bodies are read when the function is made: they depend on no
-- search_path.
create function claim_content(
    tenant text, claim text, number bigint, type text, amount bigint, happened_at timestamptz,
    recorded_at timestamptz, source text, id text, data jsonb
) returns bytea language sql immutable parallel safe
return convert_to(
    jsonb_build_array(
        tenant, claim, number, type, amount, extract(epoch from happened_at),
        extract(epoch from recorded_at), source, id, data
    )::text,
    'UTF8'
);

create function claim_link(state bytea, first bytea, content bytea)
returns bytea language sql immutable parallel safe
return sha256(coalesce(state, first) || content);

-- Over rows in their order: the hash of each row, beginning after the hash that was there.
create aggregate claim_chain(first bytea, content bytea) (sfunc = claim_link, stype = bytea);

-- What a claim was at a moment, as far as it was recorded by then.
create function claims_as_of(moment timestamptz)
returns table (tenant text, claim text, state text, reserved bigint, paid bigint, number bigint)
language sql stable
begin atomic
    select c.tenant, c.claim, (array_agg(c.type order by c.number desc))[1],
        coalesce(sum(c.amount) filter (where c.type = 'claim.reserved'), 0)::bigint,
        coalesce(sum(c.amount) filter (where c.type = 'claim.paid'), 0)::bigint,
        max(c.number)
    from claims c
    where c.recorded_at <= moment
    group by c.tenant, c.claim;
end;

-- Every row that is not as it was written, or behind which one is missing. Empty is good.
create view claims_broken as
select tenant, claim, number
from (
    select *,
        lag(hash) over w as hash_before,
        lag(number) over w as number_before
    from claims
    window w as (partition by tenant, claim order by number)
) c
where number <> coalesce(number_before, 0) + 1
    or previous <> coalesce(hash_before, ''::bytea)
    or hash <> claim_link(null, previous, claim_content(
        tenant, claim, number, type, amount, happened_at, recorded_at, source, id, data));

grant select on claims_broken to {runtime_role};
