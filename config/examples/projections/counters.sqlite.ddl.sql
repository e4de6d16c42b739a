create table counters (
    tenant text not null,
    type text not null,
    minute text not null,
    events integer not null,
    primary key (tenant, type, minute)
) strict, without rowid;
