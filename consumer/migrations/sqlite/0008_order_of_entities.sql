-- Order kept around what is parked. Same meaning as on PostgreSQL, where it is written down.
create index parked_behind on parked (class, partition, entity, log_offset)
    where reason = 'behind' and state = 'parked' and next_try_at is null;
