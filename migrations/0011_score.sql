-- A block's recoverability, kept beyond the job that computed it: the next job on the same model and images with the same wishes
-- about scoring begins with it. `images_sha256` is of the archive, empty for a job without images; `wishes` is the hash of what a
-- score depends on beside network and images (`JobConfig::scoring`).
create table score (
    -- No foreign key: whoever ends a task must not wait for whoever deletes the model. Scores of models that are gone are tidied away.
    model uuid not null,
    images_sha256 text not null,
    wishes text not null check (wishes ~ '^[0-9a-f]{64}$'),
    block text not null,
    result jsonb not null,
    job uuid not null,
    created_at timestamptz not null default now(),
    primary key (model, images_sha256, wishes, block)
);

-- The task of a score that was there when its job came: done without an attempt.
alter table task add column reused boolean not null default false;
alter table task add constraint reused_is_done check (not reused or (state = 'done' and attempt = 0));
