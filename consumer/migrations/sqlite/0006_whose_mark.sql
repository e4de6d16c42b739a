-- Whose mark it is that an owner died under. Same meaning as on PostgreSQL, where it is written down.
alter table progress add column attempt_epoch integer;
