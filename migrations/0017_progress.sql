-- What an attempt costs. `attempt` counts failures, with the running attempt; `crashes` counts the attempts whose worker ended, or was
-- silent beyond its lease. Both count what happened in a row without durable progress: `progressed` says that the running attempt
-- kept a checkpoint that a later one resumes from, and then neither its crash nor its failure costs anything, and what was counted
-- before is forgiven. `failed_on` is the slot of the worker that had the task last when it failed or crashed; others come first.
alter table task
    add column crashes integer not null default 0 check (crashes between 0 and 7),
    add column progressed boolean not null default false,
    add column failed_on uuid,
    add constraint claims_are_counted check (lease >= attempt + crashes),
    add constraint progress_is_of_an_attempt check (not progressed or state in ('running', 'done', 'failed', 'cancelled'));
