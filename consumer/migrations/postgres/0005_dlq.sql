-- The operator's way back for parked rows, and their mirror on the DLQ topic.

-- The order in which parked rows are listed, redriven and dropped: the log's. A look is a walk
-- through it from a cursor, so that none sorts or scans the table.
create index parked_in_log_order on parked (class, partition, log_offset, digest);

-- The state that was mirrored last; null: none yet. What the relay has to do is this index, which
-- holds nothing while it keeps up.
alter table parked add column mirrored text;
create index parked_unmirrored on parked (class, partition, log_offset)
    where mirrored is distinct from state;
