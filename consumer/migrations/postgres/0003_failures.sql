-- What becomes of a record that fails: retried by itself, dead, redriven, dropped; the mark of an
-- attempt that outlives its process; who has done what by hand.
--
-- States of a parked row:
--   parked   waits. Where next_try_at is set, the writer of the partition tries it then, by itself.
--   dead     no more tries; an operator may redrive it.
--   dropped  an operator gave it up; the identity stays a duplicate.
-- A row whose event has had its effect is deleted, in the same transaction as the effect. To redrive
-- a row is to set its state to parked, next_try_at to when, and tries_left to how often.
alter table parked
    -- When it is tried next; null: not by itself.
    add column next_try_at timestamptz,
    -- How many tries it has left; one is taken before each try, so that a record that kills cannot
    -- be tried for ever.
    add column tries_left integer not null default 0,
    -- The claim under which it was parked.
    add column epoch bigint,
    -- What must stay in order behind it: the event's entity, or its record's key.
    add column entity text;

create index parked_due on parked (class, partition, next_try_at)
    where state = 'parked' and next_try_at is not null;
create index parked_listed on parked (state, parked_at);
create index parked_entities on parked (class, partition, entity, log_offset)
    where entity is not null and state <> 'dropped';

-- An attempt that outlives its process.
alter table progress
    -- The position of the last claim, or of the attempt that is marked; null after a clean end.
    add column attempt_from bigint,
    -- The end of a marked attempt: offsets below it are under way. Null: none is marked.
    add column attempt_to bigint,
    -- How many owners in a row ended at attempt_from without a word.
    add column attempts integer not null default 0;

-- Every action of an operator on parked rows. Append-only: the runtime role cannot change it.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    author text not null,
    action text not null,
    reason text,
    filter jsonb not null,
    affected bigint not null
);
