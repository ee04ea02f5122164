-- In the order of a job's journey; a claim takes the earliest kind of the oldest job.
create type task_kind as enum ('measure', 'score', 'select', 'finetune', 'export');

create type task_state as enum ('ready', 'running', 'done', 'failed', 'cancelled');

-- What a worker claims. `lease` goes up with every claim and fences that attempt: every write of a worker names it and
-- changes nothing once it moved on. `lease_until` is by the database's clock, the only one that counts.
create table task (
    id uuid primary key,
    job uuid not null references job on delete cascade,
    kind task_kind not null,
    block text,
    state task_state not null default 'ready',
    attempt integer not null default 0 check (attempt between 0 and 3),
    lease bigint not null default 0 check (lease >= attempt),
    lease_until timestamptz,
    worker uuid references worker,
    run_after timestamptz not null default now(),
    result jsonb,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,

    constraint scores_name_their_block check ((kind = 'score') = (block is not null)),
    constraint once_per_job unique nulls not distinct (job, kind, block),
    constraint running_has_a_lease check ((state = 'running') = (lease_until is not null)),
    constraint running_has_a_worker check (state <> 'running' or (worker is not null and started_at is not null)),
    constraint done_has_a_result check ((state = 'done') = (result is not null)),
    constraint ended_has_its_time check ((state in ('done', 'failed', 'cancelled')) = (finished_at is not null))
);

create index task_claimable on task (state, run_after) where state in ('ready', 'running');
create index task_of_worker on task (worker) where state = 'running';

-- Bytes that one task leaves for the next, such as the fine-tuned student.
create table task_blob (
    task uuid not null references task on delete cascade,
    name text not null,
    sha256 text not null references blob,
    primary key (task, name)
);

create index task_blob_by_blob on task_blob (sha256);
