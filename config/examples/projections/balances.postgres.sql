-- Each transfer is two entries: one account gives what the other gets. They are summed by account
-- before anything is written, so that a batch touches each account once.
insert into projections.balances as b (tenant, account, balance, entries)
select tenant, account, sum(amount), count(*)
from (
    select tenant, data ->> 'from' as account, -(data ->> 'amount')::bigint as amount from fresh
    union all
    select tenant, data ->> 'to', (data ->> 'amount')::bigint from fresh
) as entry
group by tenant, account
order by tenant, account
on conflict (tenant, account) do update
set balance = b.balance + excluded.balance, entries = b.entries + excluded.entries
