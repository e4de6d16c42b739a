-- Projections: which files of the user's DDL have been run, and what the batch's statement needs where
-- the user's SQL is part of it.

-- One row per file that shock ctl migrate has run, numbered as configured.
create table projection_ddl (
    projection text not null,
    step integer not null,
    file text not null,
    checksum bytea not null,
    applied_at timestamptz not null default now(),
    primary key (projection, step)
);

-- The user's SQL may write even where no event is fresh. This ends the whole statement, with all that
-- it has written, where the fence did not hold.
create function shock_held(held boolean) returns boolean language plpgsql as $$
begin
    if not held then
        raise exception 'the partition is another writer''s' using errcode = 'SH001';
    end if;
    return true;
end
$$;

-- An event's own time where it is one (RFC 3339), else when the ingress received it: a foreign
-- writer's time that is none must not stop the record.
create function shock_time(text, timestamptz) returns timestamptz language sql stable as $$
    select case
        when $1 ~ '^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])$'
        then case
            when substr($1, 9, 2) <= to_char(
                make_date(substr($1, 1, 4)::integer, substr($1, 6, 2)::integer, 1)
                    + interval '1 month - 1 day', 'DD')
            then $1::timestamptz
            else $2
        end
        else $2
    end
$$;
