-- Order kept around what is parked (consumer.on_poison = "entity"): later events of its entity are
-- parked behind it, with reason "behind" and without a time of their own. The writer gives them one when
-- it is their turn; this is what it looks through.
create index parked_behind on parked (class, partition, entity, log_offset)
    where reason = 'behind' and state = 'parked' and next_try_at is null;
