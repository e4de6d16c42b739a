-- One row per file of the user's DDL that has been run, numbered as configured.
create table projection_ddl (
    projection text not null,
    step integer not null,
    file text not null,
    checksum blob not null,
    applied_at integer not null,
    primary key (projection, step)
) strict;
