-- What became of each claim, in the order in which it was recorded. SQLite has no roles and no hash
-- function: triggers refuse what permissions refuse on PostgreSQL, and there is no chain.
create table claims (
    tenant text not null,
    claim text not null,
    number integer not null,
    type text not null,
    amount integer,
    happened_at text not null,
    recorded_at text not null,
    source text not null,
    id text not null,
    data text,
    primary key (tenant, claim, number)
) strict, without rowid;

create trigger claims_no_update before update on claims
begin
    select raise(abort, 'claims are only ever added to');
end;

create trigger claims_no_delete before delete on claims
begin
    select raise(abort, 'claims are only ever added to');
end;
