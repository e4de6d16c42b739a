-- Ids are forgotten. Same meaning as on PostgreSQL, where it is written down; here a bucket is a range
-- of the tree, deleted in slices.

alter table pipeline add column ids_forgotten_through integer;

alter table progress add column caught_up_at integer;

create trigger position_moved_back after update of next_offset on progress
    when new.next_offset < old.next_offset
begin
    update progress
    set record_timestamp = nullif(new.record_timestamp, old.record_timestamp), caught_up_at = null
    where class = new.class and partition = new.partition;
end;
