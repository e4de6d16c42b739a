-- What becomes of a record that fails. Same meaning as on PostgreSQL, where it is written down;
-- times are milliseconds since the Unix epoch.

alter table parked add column next_try_at integer;
alter table parked add column tries_left integer not null default 0;
alter table parked add column epoch integer;
alter table parked add column entity text;

create index parked_due on parked (class, partition, next_try_at)
    where state = 'parked' and next_try_at is not null;
create index parked_listed on parked (state, parked_at);
create index parked_entities on parked (class, partition, entity, log_offset)
    where entity is not null and state <> 'dropped';

alter table progress add column attempt_from integer;
alter table progress add column attempt_to integer;
alter table progress add column attempts integer not null default 0;

create table audit (
    id integer primary key autoincrement,
    at integer not null,
    author text not null,
    action text not null,
    reason text,
    filter text not null,
    affected integer not null
) strict;
create trigger audit_is_append_only before update on audit
begin
    select raise(abort, 'audit rows are never changed');
end;
create trigger audit_is_kept before delete on audit
begin
    select raise(abort, 'audit rows are never deleted');
end;
