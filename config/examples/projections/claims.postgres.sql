-- Behind the last row of each claim come the batch's, numbered on, each with a hash over the one before.
-- An event without a subject has no claim: the database refuses it, and it is parked.
with last as (
    select f.tenant, f.entity, c.number, c.hash
    from (select distinct tenant, entity from fresh) f
    cross join lateral (
        select number, hash from projections.claims c
        where c.tenant = f.tenant and c.claim = f.entity
        order by number desc limit 1
    ) c
),
numbered as (
    select f.*,
        (f.data ->> 'amount')::bigint as amount,
        coalesce(l.number, 0)
            + row_number() over (partition by f.tenant, f.entity order by f.position) as number,
        coalesce(l.hash, ''::bytea) as first
    from fresh f left join last l on l.tenant = f.tenant and l.entity = f.entity
),
chained as (
    select *,
        projections.claim_chain(
            first,
            projections.claim_content(
                tenant, entity, number, type, amount, time, received_at, source, id, data
            )
        ) over (partition by tenant, entity order by number) as hash
    from numbered
)
insert into projections.claims
    (tenant, claim, number, type, amount, happened_at, recorded_at, source, id, data, previous, hash)
select tenant, entity, number, type, amount, time, received_at, source, id, data,
    coalesce(lag(hash) over (partition by tenant, entity order by number), first), hash
from chained
