-- The operator's way back for parked rows, and their mirror on the DLQ topic. Same meaning as on
-- PostgreSQL, where it is written down.

create index parked_in_log_order on parked (class, partition, log_offset, digest);

alter table parked add column mirrored text;
create index parked_unmirrored on parked (class, partition, log_offset)
    where mirrored is not state;
