-- What each account holds, in cents. The sum over a tenant's accounts is always 0.
create table balances (
    tenant text not null,
    account text not null,
    balance integer not null,
    entries integer not null,
    primary key (tenant, account)
) strict, without rowid;
