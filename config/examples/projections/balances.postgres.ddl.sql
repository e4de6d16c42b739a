-- What each account holds, in cents. The sum over a tenant's accounts is always 0.
create table balances (
    tenant text not null,
    account text not null,
    balance bigint not null,
    entries bigint not null,
    primary key (tenant, account)
) with (fillfactor = 50);

grant select, insert, update on balances to {runtime_role};
