-- Behind the last row of each claim come the batch's, numbered on.
-- An event without a subject has no claim: the database refuses it, and it is parked.
insert into claims
    (tenant, claim, number, type, amount, happened_at, recorded_at, source, id, data)
select f.tenant, f.entity,
    coalesce((select max(c.number) from claims c where c.tenant = f.tenant and c.claim = f.entity), 0)
        + row_number() over (partition by f.tenant, f.entity order by f.position),
    f.type, f.data ->> 'amount', f.time, f.received_at, f.source, f.id, f.data
from fresh f
