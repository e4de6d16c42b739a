create table counters (
    tenant text not null,
    type text not null,
    minute timestamptz not null,
    events bigint not null,
    primary key (tenant, type, minute)
) with (fillfactor = 50);

grant select, insert, update on counters to {runtime_role};
