-- A slot is a place for one worker process after another, named by a worker id; null where a worker stands alone and is its own slot.
-- `failed_in_row` counts the tasks that failed on the slot since the last one that succeeded, over restarts of its process. A slot
-- with too many is unhealthy: it claims less and less often, and tasks that failed there wait for another worker if there is one.
alter table worker
    add column slot uuid,
    add column failed_in_row integer not null default 0 check (failed_in_row >= 0),
    add column unhealthy_since timestamptz,
    add column unhealthy_reason text,
    add constraint unhealthy_has_a_reason check ((unhealthy_since is null) = (unhealthy_reason is null));

create index worker_of_slot on worker (slot, started_at) where slot is not null;
